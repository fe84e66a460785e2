// Which windows of a text are read, in which steps, and which of their rows count for which length
// of context: one reading of a long window serves all lengths.
#pragma once

#include <cstdint>
#include <vector>

namespace shadowattn::tool::eval {

/// 2048, 4096, … below `context`, and `context` itself.
std::vector<int64_t> window_lengths(int64_t context);

/// Where windows of `length` tokens start in a text of `tokens`: side by side without overlap,
/// spread evenly over the text. As many as fit, at most `count`.
std::vector<int64_t> window_starts(int64_t tokens, int64_t length, int count);

/// Rows `first` … `end` - 1 of a window.
struct ScoredRows {
  int64_t first = 0;
  int64_t end = 0;

  friend bool operator==(const ScoredRows&, const ScoredRows&) = default;
};

/// The rows of a window of `context` tokens that count for `length`, one of its window_lengths: the
/// second half of its first `length` tokens, less the window's last, which has no successor in it.
/// The rows of all lengths together have no gap.
ScoredRows scored_rows(int64_t length, int64_t context);

/// Where each step of reading a window of `context` tokens ends: of at most `ubatch` tokens, and at
/// each of its window_lengths, so that what was done up to there can be told.
std::vector<int64_t> step_ends(int64_t context, int64_t ubatch);

}  // namespace shadowattn::tool::eval
