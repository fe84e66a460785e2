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
    mass_ += rank_share(rank);
    rank = kForcedScore;
    ++count_;
  }

  int64_t count() const { return count_; }
  /// Sum of the shares of the keys forced, where ranks are shares.
  double mass() const { return mass_; }

 private:
  int16_t* importance_;
  int64_t first_;
  int64_t count_ = 0;
  double mass_ = 0.0;
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

/// Turns scores into ranks that are shares of the mass: bits of 2^((score - level) / units) with
/// straight lines between the powers of two, at least 2^-126. Hidden keys stay hidden.
void turn_to_shares(int16_t* scores, int16_t level, int64_t n, double units_per_log2) {
  // Without units all logits are zero and all shares equal.
  const auto per_unit =
      static_cast<float>(units_per_log2 > 0.0 ? std::min(1.0 / units_per_log2, 1e30) : 0.0);
  for (int64_t j = 0; j < n; ++j) {
    if (scores[j] == kHiddenScore) continue;
    const float log2 = static_cast<float>(scores[j] - level) * per_unit;
    const float bits = std::clamp(log2 + 127.0F, 1.0F, 246.0F) * 0x1p23F;
    scores[j] = static_cast<int16_t>(static_cast<int32_t>(bits) >> 16);
  }
}

/// One past the last key that a row of the list sees, relative to first_key; 0: none.
int64_t visible_end(const Visibility& visibility, const ListRows& list, int64_t first_key) {
  return std::max<int64_t>(visible_range(visibility, list).end - first_key, 0);
}

}  // namespace

void TokenSelector::reserve(int64_t keys) {
  importance_.reserve(padded_scores(keys));
  indices_.reserve(padded_scores(keys));
  histogram_.reserve();
}

int16_t* TokenSelector::merge(const Visibility& visibility, const ListRows& list, int64_t first_row,
                              const ScoreRows& scores, bool shares, const SelectKernel& kernel) {
  const int64_t n = visible_end(visibility, list, scores.first_key);
  if (list.count() == 1) {
    int16_t* row = scores.row(first_row);
    const double units = scores.units_per_log2(first_row);
    if (shares) turn_to_shares(row, share_level(row, n, units, kernel), n, units);
    return row;
  }
  int16_t* importance = importance_.data();
  std::fill_n(importance, padded_scores(n), kHiddenScore);
  double units = 0.0;  // the same for all rows but on devices, where the largest is the safe one
  for (int64_t i = first_row; i < first_row + list.count(); ++i) {
    const int16_t* row = scores.row(i);
    kernel.merge(row, share_level(row, n, scores.units_per_log2(i), kernel), n, importance);
    units = std::max(units, scores.units_per_log2(i));
  }
  if (shares) turn_to_shares(importance, 0, n, units);
  return importance;
}

int64_t TokenSelector::count_by_mass(const ListBudget& budget, const KeyRanks& ranks, int64_t n,
                                     int64_t forced, double forced_mass, int64_t most) {
  histogram_.count(ranks.rank, n);
  const int64_t all = histogram_.counted() + forced;
  // Where ranks add up to more a level has missed a peak (row_levels.h), and what its row seems to
  // hold must not drown what the others hold.
  const double mass = std::min(histogram_.mass() + forced_mass, ranks.most_mass);
  int64_t keep = all - histogram_.droppable(budget.attn_error * mass);
  if (static_cast<double>(keep) > kNearlyAll * static_cast<double>(all)) keep = all;
  keep = std::max(std::min(keep, most), forced);
  // All at most: a row with a missed peak seems to lose more.
  estimated_lost_ =
      mass > 0.0 ? std::min(histogram_.mass_of_smallest(all - keep) / mass, 1.0) : 0.0;
  return keep;
}

TokenList TokenSelector::select(const EngineOptions& options, const ListBudget& budget,
                                const Visibility& visibility, const ListRows& list,
                                const KeyRanks& ranks, const SelectKernel& kernel) {
  const int64_t first_key = ranks.first_key;
  int64_t most_visible = 0;
  Forcer forcer(ranks.rank, first_key);
  for (int64_t i = 0; i < list.count(); ++i) {
    most_visible =
        std::max<int64_t>(most_visible, visibility.row(list.head(i), list.row(i)).visible);
  }
  for_each_forced(options, visibility, list, [&](int64_t key) { forcer.force(key); });
  const int64_t n = visible_end(visibility, list, first_key);
  int64_t keep = std::max(budget.most(most_visible), forcer.count());
  estimated_lost_ = 0.0;
  if (budget.by_mass()) {
    keep = count_by_mass(budget, ranks, n, forcer.count(), forcer.mass(), keep);
  }
  // What no row of the list sees is left out where the list is attended to.
  if (keep >= n) return {nullptr, first_key, n};
  int32_t* out = indices_.data();
  const int64_t count = kernel.top_k(ranks.rank, n, keep, out);
  for (int64_t i = 0; i < count; ++i) out[i] += static_cast<int32_t>(first_key);
  return {out, 0, count};
}

}  // namespace shadowattn
