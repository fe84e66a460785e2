// SoC files: the limits and times of a real device, each with where it comes from, for npu-sim to
// play it. The format, for people: soc/README.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "device/latency_model.h"
#include "device/prefill_rates.h"
#include "shadowattn/device.h"

namespace shadowattn {

/// Longest file, in bytes.
inline constexpr size_t kLargestSocFile = 64 * 1024;

struct SocDescription {
  /// All but graph_bytes; the name is "npu-sim", the description tells which device is played.
  DeviceCapabilities capabilities;
  LatencyModel latency;
  std::optional<PrefillRates> prefill;  ///< npu-sim has no use for it
};

/// Everything must be there, make sense and be known; errors say what is wrong with which entry,
/// and begin with `origin`, a file's name.
Result<SocDescription> parse_soc(std::string_view json, std::string_view origin);

/// Reads a regular file.
Result<SocDescription> load_soc(const std::string& path);

}  // namespace shadowattn
