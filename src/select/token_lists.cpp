#include "select/token_lists.h"

#include <algorithm>
#include <cmath>

namespace shadowattn {
namespace {

/// Marks keys of one row's always-kept set; counts each key once.
class Forcer {
 public:
  Forcer(int16_t* importance, int64_t first_key) : importance_(importance), first_(first_key) {}

  void force(int64_t key) {
    int16_t& rank = importance_[key - first_];
    if (rank == kForcedScore) return;
    rank = kForcedScore;
    ++count_;
  }

  int64_t count() const { return count_; }

 private:
  int16_t* importance_;
  int64_t first_;
  int64_t count_ = 0;
};

void force_row(const EngineOptions& options, const Visibility& visibility, int64_t head,
               int64_t row, Forcer& forcer) {
  const RowVisibility& seen = visibility.row(head, row);
  const auto visible = [&](int64_t key) { return seen.plain || visibility.sees(head, row, key); };
  int32_t left = options.sink;
  for (int64_t key = seen.begin; key < seen.end && left > 0; ++key) {
    if (!visible(key)) continue;
    forcer.force(key);
    --left;
  }
  // Recent means up to the row's own token, which need not be the last: a shifted context writes
  // new tokens into the hole that old ones left.
  if (seen.own >= 0) forcer.force(seen.own);
  left = options.recent;
  for (int64_t key = seen.own >= 0 ? seen.own : seen.end - 1; key >= seen.begin && left > 0;
       --key) {
    if (!visible(key)) continue;
    forcer.force(key);
    --left;
  }
}

/// log2 with straight lines between the powers of two: the inverse of the kernels' e2, and like it
/// the same on every machine, which std::log2 need not be.
double straight_log2(double x) {
  int exponent = 0;
  const double fraction = std::frexp(x, &exponent);  // in [0.5, 1)
  return exponent - 2.0 + 2.0 * fraction;
}

/// The score that stands for a softmax share of one: the row's maximum plus the logarithm of its
/// sum, in score units. Saturates for rows whose logits are all tiny; they are uniform anyway.
int16_t log_sum_level(const int16_t* scores, int64_t n, double units_per_logit,
                      const SelectKernel& kernel) {
  constexpr double kLn2 = 0.6931471805599453;
  constexpr double kSteepest = 1e30;  // logits beyond any float: only the maximum counts
  const int16_t row_max = kernel.row_max(scores, n);
  if (row_max == kHiddenScore || units_per_logit <= 0.0) return std::max<int16_t>(row_max, 0);
  const double units_per_log2 = units_per_logit * kLn2;
  const auto log2_per_unit = static_cast<float>(std::min(1.0 / units_per_log2, kSteepest));
  const int64_t sum = kernel.exp_sum(scores, row_max, n, log2_per_unit);
  const double log_sum = straight_log2(static_cast<double>(sum) / kExpSumOne);
  const double level = std::rint(row_max + log_sum * units_per_log2);
  return static_cast<int16_t>(std::min<double>(level, kForcedScore));
}

}  // namespace

void TokenSelector::reserve(int64_t keys) {
  importance_.reserve(padded_scores(keys));
  indices_.reserve(padded_scores(keys));
}

TokenList TokenSelector::select(const EngineOptions& options, const Visibility& visibility,
                                const ListRows& list, int64_t first_row, const KeyEstimate& keys,
                                TileEstimate& estimate, const SelectKernel& kernel) {
  int64_t end = keys.begin();
  int64_t most_visible = 0;
  for (int64_t i = 0; i < list.count(); ++i) {
    const RowVisibility& seen = visibility.row(list.head(i), list.row(i));
    end = std::max<int64_t>(end, seen.end);
    most_visible = std::max<int64_t>(most_visible, seen.visible);
  }
  const int64_t n = end - keys.begin();

  int16_t* importance = estimate.row(first_row);
  if (list.count() > 1) {
    importance = importance_.data();
    std::fill_n(importance, padded_scores(n), kHiddenScore);
    for (int64_t i = 0; i < list.count(); ++i) {
      const int16_t* scores = estimate.row(first_row + i);
      const double units = estimate.units_per_logit(first_row + i);
      kernel.merge(scores, log_sum_level(scores, n, units, kernel), n, importance);
    }
  }
  Forcer forcer(importance, keys.begin());
  for (int64_t i = 0; i < list.count(); ++i) {
    force_row(options, visibility, list.head(i), list.row(i), forcer);
  }
  const int64_t keep = std::max(keep_count(options, most_visible), forcer.count());
  int32_t* out = indices_.data();
  const int64_t count = kernel.top_k(importance, n, keep, out);
  for (int64_t i = 0; i < count; ++i) out[i] += static_cast<int32_t>(keys.begin());
  return {out, count};
}

}  // namespace shadowattn
