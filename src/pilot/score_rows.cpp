#include "pilot/score_rows.h"

#include <algorithm>
#include <cmath>

#include "kernels/select/select.h"

namespace shadowattn {

void hide_holes(const Visibility& visibility, int64_t head, int64_t query_row, KeyRange keys,
                int16_t* scores) {
  if (visibility.row(head, query_row).plain) return;
  hide_holes([&](int64_t first) { return visibility.seen(head, query_row, first); }, keys, scores);
}

void hide_holes(const Visibility& visibility, const ListRows& list, KeyRange keys,
                int16_t* scores) {
  if (visibility.all_plain()) return;
  hide_holes([&](int64_t first) { return seen_by_any(visibility, list, first); }, keys, scores);
}

void hide_keys(const Visibility& visibility, int64_t head, int64_t query_row, const ScoreRows& rows,
               int64_t i) {
  /// Largest magnitude of an estimate; what is above belongs to forced keys.
  constexpr double kScoreRange = kLargestScore;
  const RowVisibility& seen = visibility.row(head, query_row);
  int16_t* scores = rows.row(i);
  const int64_t begin = std::clamp(seen.begin - rows.first_key, int64_t{0}, rows.stride);
  const int64_t end = std::clamp(seen.end - rows.first_key, begin, rows.stride);
  std::fill(scores, scores + begin, kHiddenScore);
  std::fill(scores + end, scores + rows.stride, kHiddenScore);
  hide_holes(visibility, head, query_row, {rows.first_key + begin, rows.first_key + end},
             scores + begin);
  if (!seen.biased) return;
  for (int64_t j = begin; j < end; ++j) {
    if (scores[j] == kHiddenScore) continue;
    const float bias = visibility.bias(head, query_row, rows.first_key + j);
    if (bias == 0.0F) continue;
    const double biased = scores[j] + static_cast<double>(bias) * rows.units_per_logit[i];
    // NaN is not below the range and lands at the top: a hostile mask shows up in the output.
    scores[j] = !(biased < kScoreRange) ? kLargestScore
                : biased > -kScoreRange ? static_cast<int16_t>(std::lrint(biased))
                                        : static_cast<int16_t>(-kLargestScore);
  }
}

}  // namespace shadowattn
