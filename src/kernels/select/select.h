// Kernel family `select`: from 16-bit scores to the indices of the most important keys.
//
// A score of kHiddenScore marks a key that may not be chosen. All arrays of scores are readable up
// to padded_scores(n) elements; what lies beyond n holds kHiddenScore.
//
//   row_max(s)            = max_j s[j]
//   exp_sum(s, m, c)      = Σ_j round(2^16 · e2((s[j] - m) · c)), hidden keys left out
//   merge(s, level, imp)  : imp[j] = max(imp[j], max(s[j] - level, -32767)), hidden keys left out
//   top_k(imp, k)         : the k largest, ties by smaller index, as ascending indices
//
// e2(x) = (1 + frac(x)) · 2^floor(x) is 2^x with straight lines between the powers of two (at most
// 6.2 % too large), zero below 2^-126; its sum is exact, so that it has the same bits in any order.
//
// A list for several rows ranks a key by the largest share of softmax mass that any of the rows
// gives it (merge over the rows, level = the row's log-sum): flat rows do not drown peaked ones.
// Integers only: every kernel gives the same result.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "shadowattn/cpu.h"

namespace shadowattn {

inline constexpr int16_t kHiddenScore = std::numeric_limits<int16_t>::min();
/// Rank above every estimate: a key that must be in the list.
inline constexpr int16_t kForcedScore = std::numeric_limits<int16_t>::max();
/// Estimates stay at or below this, so that a forced key always wins.
inline constexpr int16_t kLargestScore = kForcedScore - 1;

inline constexpr int64_t kScorePadding = 32;

/// exp_sum counts e2(0) = 1 as this.
inline constexpr int32_t kExpSumOne = 1 << 16;

/// n rounded up to what the kernels read.
constexpr int64_t padded_scores(int64_t n) {
  return (n + kScorePadding - 1) / kScorePadding * kScorePadding;
}

struct SelectKernel {
  std::string_view name;
  CpuFeatures needs;
  /// kHiddenScore when every key is hidden. n ≥ 0.
  int16_t (*row_max)(const int16_t* scores, int64_t n);
  /// row_max must not be below any score; c ≥ 0 finite: log2 units per score unit.
  int64_t (*exp_sum)(const int16_t* scores, int16_t row_max, int64_t n, float c);
  /// `importance` has the same padding; start from kHiddenScore everywhere.
  void (*merge)(const int16_t* scores, int16_t level, int64_t n, int16_t* importance);
  /// Writes min(k, keys not hidden) indices to `out` ([k] elements) and returns how many.
  int64_t (*top_k)(const int16_t* importance, int64_t n, int64_t k, int32_t* out);
};

/// Best first; the last runs anywhere.
const std::vector<SelectKernel>& select_kernels();

}  // namespace shadowattn
