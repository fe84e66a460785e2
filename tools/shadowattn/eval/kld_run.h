// The same windows of a text read by all methods in step, and their probabilities compared.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/kld_statistics.h"
#include "eval/kld_windows.h"
#include "eval/workplace.h"

namespace shadowattn::tool::eval {

struct MethodTokens {
  Method method;
  std::vector<TokenComparison> tokens;
  double kept = 1;
  double seconds = 0;
};

/// One length of context. Figures are of all windows up to this length.
struct KldLength {
  int64_t context = 0;
  int windows = 0;
  std::vector<MethodTokens> methods;  ///< all but the reference
  double reference_seconds = 0;
};

struct KldOptions {
  int64_t context = 4096;  ///< tokens of a window; at least kShortestWindow
  int windows = 2;         ///< at most
};

inline constexpr int64_t kShortestWindow = 128;

/// Throws Failure when a text of `available` tokens holds no window of `context` tokens, or the
/// model cannot read one.
void check_window(const Workplace& workplace, int64_t available, int64_t context);

/// As `workplace`, with fewer tokens processed at once where the logits of so many contexts would
/// need more than `bytes`.
Workplace with_bounded_logits(const Workplace& workplace, size_t contexts, int64_t bytes);

/// All methods read each window in step, once; the results are those of window_lengths. For each
/// length the second half of its rows is compared, as llama-perplexity does. `methods` starts with
/// the reference. Keeps the logits of one step per method, 1 GiB together at most (or 64 rows).
/// Throws Failure when the text is shorter than a window, and on Ctrl-C.
std::vector<KldLength> run_kld(const Workplace& workplace, const std::vector<Method>& methods,
                               std::span<const llama_token> text, const KldOptions& options);

}  // namespace shadowattn::tool::eval
