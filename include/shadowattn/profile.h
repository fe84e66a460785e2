// A profile: what was measured of a model beforehand, head by head. Made by `shadowattn profile`,
// kept as JSON beside the model (docs/profile.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shadowattn/status.h"

namespace shadowattn {

/// Which model a profile belongs to.
struct ProfiledModel {
  std::string architecture;  ///< "qwen2"
  std::string checksum;      ///< of the weights; how: docs/profile.md
  int64_t parameters = 0;
};

/// Who shares a token list, or that there are none.
struct ListShape {
  bool dense = false;
  int32_t rows_per_list = 8;  ///< as in EngineOptions, as is the next
  bool share_heads = true;

  friend bool operator==(const ListShape&, const ListShape&) = default;
};

/// Share of tokens that lists of one shape need, measured.
struct KeptCurve {
  ListShape lists;
  int64_t keys = 0;                ///< visible tokens when it was measured
  std::vector<double> attn_error;  ///< ascending
  std::vector<double> kept;        ///< [attn_error] in (0, 1]
  double nanoseconds = 0.0;        ///< per query row, head and key at the profile's attn_error
};

struct HeadProfile {
  double keep = 1.0;        ///< the most that its lists may keep, in (0, 1]; of heads that share a
                            ///< list the largest counts
  double importance = 0.0;  ///< by loss; 0: not measured
};

struct KvHeadProfile {
  ListShape lists;                ///< fastest at the profile's attn_error
  std::vector<KeptCurve> curves;  ///< what it was chosen from; for people
};

struct LayerProfile {
  int32_t head_dim = 0;
  double importance = 0.0;              ///< by loss, of the whole layer; 0: not measured
  std::vector<HeadProfile> heads;       ///< [H]
  std::vector<KvHeadProfile> kv_heads;  ///< [H_kv]
  /// Scales for devices with static graphs, ascending; empty: the default grid
  /// (DeviceOptions::query_scales, key_scales).
  std::vector<float> query_scales;
  std::vector<float> key_scales;
};

/// Longest profile, in bytes.
inline constexpr size_t kLargestProfile = size_t{64} << 20;

struct Profile {
  static constexpr int kVersion = 1;

  std::string note;  ///< how it was made, for people; may be empty
  ProfiledModel model;
  double attn_error = 0.01;          ///< that the lists were chosen for
  std::vector<LayerProfile> layers;  ///< [layers of the model]; one without attention has no heads
};

/// Reads a profile's JSON. What is missing, unknown, out of range or of another version is named:
/// "layers[3].heads[1].keep must be in (0, 1], not 1.5". Refuses more than kLargestProfile bytes.
Result<Profile> parse_profile(std::string_view json);

/// The same from a regular file; messages begin with its path.
Result<Profile> load_profile(const std::string& path);

/// Readable JSON; parse_profile gives the same profile back, if it is one that makes sense. Throws
/// std::bad_alloc.
std::string to_json(const Profile& profile);

}  // namespace shadowattn
