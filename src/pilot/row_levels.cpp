#include "pilot/row_levels.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "pilot/row_level.h"
#include "pilot/score_rows.h"

namespace shadowattn {

void RowLevels::reserve(int64_t max_rows, int64_t keys) {
  slope_.reserve(max_rows);
  offset_.reserve(max_rows);
  const int64_t blocks = (keys + kPilotKeyBlock - 1) / kPilotKeyBlock + 1;
  const KeySample all{0, blocks};
  const int64_t sampled = std::max(std::min(blocks, KeySample::kWholeBlocks) * kPilotKeyBlock,
                                   all.end_keys() + all.middle_keys());
  // An odd number of cache lines: a column of rows must not fall into the same few sets.
  static_assert(kScorePadding * sizeof(int16_t) == 64);
  stride_ = ((padded_scores(sampled) + kScorePadding) / kScorePadding | 1) * kScorePadding;
  sample_.reserve(max_rows * stride_);
}

void RowLevels::hide(const KeySample& sample, const Visibility& visibility, const ListRows& list,
                     int64_t first_key) {
  const int64_t sampled_end = sample.end_keys();
  int64_t full_begin = 0;  // what every row sees
  int64_t full_end = INT64_MAX;
  for (int64_t i = 0; i < list.count(); ++i) {
    const RowVisibility& seen = visibility.row(list.head(i), list.row(i));
    full_begin = std::max<int64_t>(full_begin, seen.begin);
    full_end = seen.plain ? std::min<int64_t>(full_end, seen.end) : 0;
    int16_t* scores = this->sample(i);
    std::fill(scores + sampled_end, scores + padded_scores(sampled_end), kHiddenScore);
  }
  sample.for_each_run([&](int64_t block, int64_t blocks, int64_t position) {
    const int64_t first = first_key + block * kPilotKeyBlock;
    const int64_t count = blocks * kPilotKeyBlock;
    if (full_begin <= first && full_end >= first + count) return;
    for (int64_t i = 0; i < list.count(); ++i) {
      const RowVisibility& seen = visibility.row(list.head(i), list.row(i));
      int16_t* scores = this->sample(i) + position;
      const int64_t begin = std::clamp<int64_t>(seen.begin - first, 0, count);
      const int64_t end = std::clamp<int64_t>(seen.end - first, begin, count);
      std::fill(scores, scores + begin, kHiddenScore);
      std::fill(scores + end, scores + count, kHiddenScore);
      hide_holes(visibility, list.head(i), list.row(i), {first + begin, first + end},
                 scores + begin);
    }
  });
}

void RowLevels::set(const KeySample& sample, const RowVisibility& seen, double units_per_log2,
                    double slope, int64_t i, const SelectKernel& select) {
  constexpr double kScale = 0x1p23;  // see pilot_dot.h: floats are built from their bits
  constexpr double kLargest = 1e37;  // slope · score + offset stays finite
  double level = 0.0;
  bool any = seen.visible > 0;
  if (units_per_log2 > 0.0) {
    const int16_t* scores = this->sample(i);
    level = log_sum_level(
        {scores, sample.end_keys(), 1.0},
        {scores + padded_scores(sample.end_keys()), sample.middle_keys(), sample.weight()},
        units_per_log2, select, &any);
  } else if (any) {
    level = straight_log2(seen.visible);  // all logits are zero
  }
  const double offset = std::clamp(kScale * (127.0 - level), -kLargest, kLargest);
  slope_.data()[i] = any ? static_cast<float>(std::clamp(slope, -1e30, 1e30)) : 0.0F;
  offset_.data()[i] = any ? static_cast<float>(offset) : 0.0F;
}

void RowLevels::leave_out_unseen(const KeySample& sample, const Visibility& visibility,
                                 const ListRows& list, int64_t first_key, const float* row_factor,
                                 int16_t* rank) {
  KeyRange common{0, INT64_MAX};
  const KeyRange any = visible_range(visibility, list);
  for (int64_t i = 0; i < list.count(); ++i) {
    const RowVisibility& seen = visibility.row(list.head(i), list.row(i));
    common.begin = std::max<int64_t>(common.begin, seen.begin);
    common.end = std::min<int64_t>(common.end, seen.end);
  }
  for (int64_t key = any.begin; key < any.end; ++key) {
    if (key == common.begin) key = std::max(key, common.end);  // all rows see these
    if (key >= any.end) break;
    const int64_t block = (key - first_key) / kPilotKeyBlock;
    const int64_t position = sample.position_of(block);
    if (position < 0) continue;
    const int64_t at = position + (key - first_key) % kPilotKeyBlock;
    float share = 0.0F;
    for (int64_t i = 0; i < list.count(); ++i) {
      const int16_t score = this->sample(i)[at];
      if (score == kHiddenScore) continue;
      const float unit = row_factor[i] != 0.0F ? slope_.data()[i] / row_factor[i] : 0.0F;
      const float bits = std::fma(static_cast<float>(score), unit, offset_.data()[i]);
      share += std::bit_cast<float>(static_cast<int32_t>(std::clamp(bits, 0.0F, kRankCap)));
    }
    rank[key - first_key] = static_cast<int16_t>(std::bit_cast<uint32_t>(share) >> 16);
  }
}

bool RowLevels::in_range(int64_t i, double largest_score) const {
  // The margin covers the roundings.
  const double reach = largest_score * std::fabs(slope_.data()[i]) * 1.0001;
  const double offset = offset_.data()[i];
  return offset - reach >= 0.0 && offset + reach <= double{kRankCap};
}

}  // namespace shadowattn
