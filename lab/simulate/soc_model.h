// A SoC as the prediction sees it: what its file (soc/README.md) says, and where each figure is
// from.
#pragma once

#include <string>
#include <vector>

#include "device/soc_file.h"

namespace shadowattn::tool::simulate {

/// How well founded a figure is: whether its source begins with "fitted" or "assumed".
enum class Origin { kPublished, kFitted, kAssumed };

/// One figure as it is in the file.
struct SourcedFigure {
  std::string group{};  ///< "limits", "times", "prefill"
  std::string name{};
  double value = 0;
  std::string unit{};
  std::string source{};

  Origin origin() const;
};

struct SocModel {
  std::string name;
  DeviceCapabilities limits;
  LatencyModel graph_times;  ///< of the paper's compiled graphs
  PrefillRates rates;
  std::vector<SourcedFigure> figures;  ///< all of the file
};

/// Throws Failure when the file cannot be read, is no SoC file or has no section "prefill".
SocModel load_soc_model(const std::string& path);

/// The same from a file's text; `origin` is its name, for errors.
SocModel parse_soc_model(const std::string& text, const std::string& origin);

/// "published", "fitted", "assumed".
std::string origin_name(Origin origin);

}  // namespace shadowattn::tool::simulate
