// The one configuration string, as the plug-in reads it from the environment variable SHADOWATTN:
//
//   mode=shadow,attn_error=0.01,keep=1,output_error=0.02,sink=4,recent=64,floor=256,rows=8,
//   share_heads=yes,threads=2,min_rows=0,report=out.json,isa=avx2
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shadowattn/engine.h"
#include "shadowattn/status.h"

namespace shadowattn {

/// Heads whose attention is taken away, to measure what they are worth.
struct Ablation {
  int32_t layer = -1;  ///< -1: none
  int32_t head = -1;   ///< query head; -1: all of the layer

  friend bool operator==(const Ablation&, const Ablation&) = default;
};

/// Engine options and what concerns the host program only.
struct Config {
  /// mode=off: the plug-in claims nothing and the host attends by itself.
  bool enabled = true;
  /// Lists by output_error; a string that says keep or attn_error asks for lists by those.
  EngineOptions engine{.output_error = 0.02};
  /// Threads to use; 0: as many as the host asks for.
  int threads = 0;
  /// Attention calls with fewer query rows are left to the host. 0: the plug-in decides (few rows
  /// from the first prompt on, in contexts long enough to gain: docs/plugin.md).
  int32_t min_rows = 0;
  /// Where the JSON report is written when the host ends; empty: nowhere.
  std::string report_path;
  /// A profile to read (shadowattn/profile.h), by whoever makes an engine of this config; empty:
  /// none.
  std::string profile_path;
  /// For profiling: the output of these heads becomes zero, in the calls that the plug-in takes.
  Ablation ablate;
  /// Where a timeline of all calls is written when the host ends (docs/plugin.md); empty: nowhere.
  std::string trace_path;
};

/// Parses "key=value,key=value". Spaces around keys and values are ignored; an empty string gives
/// the defaults; a later key wins. Unknown keys and bad values are errors that name the key, the
/// value and what is allowed. Limits: 4096 bytes.
Result<Config> parse_config(std::string_view text);

/// The config as a string that parse_config reads back to the same config.
std::string to_string(const Config& config);

/// A key and its value as parse_config reads it; empty: none.
struct ConfigValue {
  std::string key;
  std::string value;
};

/// All keys, in the order of config_help.
std::vector<ConfigValue> config_values(const Config& config);

/// One line per key: name, default, meaning; those of experts after the others. For --help and
/// docs.
std::string config_help();

}  // namespace shadowattn
