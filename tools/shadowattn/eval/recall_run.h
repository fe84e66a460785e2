// Attention calls of every layer, recorded while the model reads a text, and computed again by
// every method at several settings.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/recall_statistics.h"
#include "eval/settings.h"
#include "eval/workplace.h"

namespace shadowattn::tool::eval {

struct RecallMethod {
  Method method;
  ListQualities qualities;
};

struct RecallAtSetting {
  Setting setting;
  Granularity granularity;
  std::vector<RecallMethod> methods;  ///< all but the reference, see RecallOptions
};

struct RecallOptions {
  int64_t context = 4096;
  int windows = 2;
  std::vector<Setting> settings;
  /// Shadow is evaluated at each, other methods at the first. Empty: as the methods' configs say.
  std::vector<Granularity> granularities{};
  bool floor_given = false;  ///< else shares are taken at their word: keep_floor is 1
};

/// By setting, and for each by granularity. The last ubatch of each window is evaluated. `methods`
/// starts with the reference; llama.cpp's own attention is no method here. Throws Failure when the
/// text is too short, and on Ctrl-C.
std::vector<RecallAtSetting> run_recall(const Workplace& workplace,
                                        const std::vector<Method>& methods,
                                        std::span<const llama_token> text,
                                        const RecallOptions& options);

}  // namespace shadowattn::tool::eval
