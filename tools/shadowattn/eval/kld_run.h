// The same windows of a text read by all methods in step, and their probabilities compared.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kld_statistics.h"
#include "workplace.h"

namespace shadowattn::tool::eval {

struct MethodTokens {
  Method method;
  std::vector<TokenComparison> tokens;
  double kept = 1;
  double seconds = 0;
};

/// One length of context.
struct KldLength {
  int64_t context = 0;
  int windows = 0;
  std::vector<MethodTokens> methods;  ///< all but the reference
  double reference_seconds = 0;
};

struct KldOptions {
  int64_t context = 4096;  ///< the longest; at least kShortestWindow
  int windows = 2;         ///< of each length, at most
};

inline constexpr int64_t kShortestWindow = 128;

/// 2048, 4096, … below `context`, and `context` itself.
std::vector<int64_t> window_lengths(int64_t context);

/// Where windows of `length` tokens start in a text of `tokens`: side by side without overlap,
/// spread evenly over the text. As many as fit, at most `count`.
std::vector<int64_t> window_starts(int64_t tokens, int64_t length, int count);

/// Throws Failure when a text of `available` tokens holds no window of `context` tokens, or the
/// model cannot read one.
void check_window(const Workplace& workplace, int64_t available, int64_t context);

/// The first half of each window is only read, as llama-perplexity does. `methods` starts with the
/// reference. Keeps the logits of one ubatch per method. Throws Failure when the text is shorter
/// than the longest window, and on Ctrl-C.
std::vector<KldLength> run_kld(const Workplace& workplace, const std::vector<Method>& methods,
                               std::span<const llama_token> text, const KldOptions& options);

}  // namespace shadowattn::tool::eval
