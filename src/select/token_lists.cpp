#include "select/token_lists.h"

#include <algorithm>
#include <cmath>

#include "pilot/row_level.h"
#include "select/forced_keys.h"

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

/// The score that stands for a softmax share of one. Saturates for rows whose logits are all tiny;
/// they are uniform anyway.
int16_t share_level(const int16_t* scores, int64_t n, double units_per_log2,
                    const SelectKernel& kernel) {
  if (units_per_log2 <= 0.0) return std::max<int16_t>(kernel.row_max(scores, n), 0);
  bool seen = false;
  const double level =
      log_sum_level({scores, n, 1.0}, {scores, 0, 0.0}, units_per_log2, kernel, &seen);
  if (!seen) return 0;
  return static_cast<int16_t>(std::min<double>(std::rint(level * units_per_log2), kForcedScore));
}

/// One past the last key that a row of the list sees, relative to first_key; 0: none.
int64_t visible_end(const Visibility& visibility, const ListRows& list, int64_t first_key) {
  return std::max<int64_t>(visible_range(visibility, list).end - first_key, 0);
}

}  // namespace

void TokenSelector::reserve(int64_t keys) {
  importance_.reserve(padded_scores(keys));
  indices_.reserve(padded_scores(keys));
}

int16_t* TokenSelector::merge(const Visibility& visibility, const ListRows& list, int64_t first_row,
                              const ScoreRows& scores, const SelectKernel& kernel) {
  if (list.count() == 1) return scores.row(first_row);
  const int64_t n = visible_end(visibility, list, scores.first_key);
  int16_t* importance = importance_.data();
  std::fill_n(importance, padded_scores(n), kHiddenScore);
  for (int64_t i = first_row; i < first_row + list.count(); ++i) {
    const int16_t* row = scores.row(i);
    kernel.merge(row, share_level(row, n, scores.units_per_log2(i), kernel), n, importance);
  }
  return importance;
}

TokenList TokenSelector::select(const EngineOptions& options, const Visibility& visibility,
                                const ListRows& list, int64_t first_key, int16_t* importance,
                                const SelectKernel& kernel) {
  int64_t most_visible = 0;
  Forcer forcer(importance, first_key);
  for (int64_t i = 0; i < list.count(); ++i) {
    most_visible =
        std::max<int64_t>(most_visible, visibility.row(list.head(i), list.row(i)).visible);
  }
  for_each_forced(options, visibility, list, [&](int64_t key) { forcer.force(key); });
  const int64_t n = visible_end(visibility, list, first_key);
  const int64_t keep = std::max(keep_count(options, most_visible), forcer.count());
  int32_t* out = indices_.data();
  const int64_t count = kernel.top_k(importance, n, keep, out);
  for (int64_t i = 0; i < count; ++i) out[i] += static_cast<int32_t>(first_key);
  return {out, 0, count};
}

}  // namespace shadowattn
