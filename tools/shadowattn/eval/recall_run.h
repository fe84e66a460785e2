// Attention calls of every layer, recorded while the model reads a text, and computed again by
// every method at several settings.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "recall_statistics.h"
#include "workplace.h"

namespace shadowattn::tool::eval {

/// attn_error > 0: as many tokens as that needs; 0: `keep` of them.
struct RecallSetting {
  double attn_error = 0;
  double keep = 1;
};

struct RecallMethod {
  Method method;
  ListQualities qualities;
};

struct RecallAtSetting {
  RecallSetting setting;
  std::vector<RecallMethod> methods;  ///< all but the reference
};

struct RecallOptions {
  int64_t context = 4096;
  int windows = 2;
  std::vector<RecallSetting> settings;
  bool floor_given = false;  ///< else shares are taken at their word: keep_floor is 1
};

/// The last ubatch of each window is evaluated. `methods` starts with the reference; llama.cpp's
/// own attention is no method here. Throws Failure when the text is too short, and on Ctrl-C.
std::vector<RecallAtSetting> run_recall(const Workplace& workplace,
                                        const std::vector<Method>& methods,
                                        std::span<const llama_token> text,
                                        const RecallOptions& options);

}  // namespace shadowattn::tool::eval
