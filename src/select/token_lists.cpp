#include "select/token_lists.h"

#include <algorithm>

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
      kernel.merge(scores, kernel.row_max(scores, n), n, importance);
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
