// Estimated scores of query rows as select reads them, whatever computed them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/select/select.h"
#include "plan/list_rows.h"
#include "plan/visibility.h"

namespace shadowattn {

/// 16-bit scores: row i is [stride] elements, of absolute keys first_key + j. Keys that a row does
/// not see, and what lies beyond the last key, hold kHiddenScore (kernels/select/select.h).
struct ScoreRows {
  int16_t* data = nullptr;
  int64_t stride = 0;  ///< a multiple of kScorePadding
  int64_t first_key = 0;
  /// Score units per logit of each row; 0 when all its scores are zero.
  const double* units_per_logit = nullptr;

  int16_t* row(int64_t i) const { return data + i * stride; }
  double units_per_log2(int64_t i) const { return units_per_logit[i] * 0.6931471805599453; }
};

/// Hides those of the keys [keys.begin, keys.end), whose scores these are, that are not in
/// seen(first): a word of bits for kWordKeys keys from `first` on.
template <typename SeenWord>
void hide_holes(const SeenWord& seen, KeyRange keys, int16_t* scores) {
  for (int64_t first = keys.begin; first < keys.end; first += kWordKeys) {
    const uint64_t word = seen(first);
    if (word == ~uint64_t{0}) continue;
    const int64_t count = std::min(kWordKeys, keys.end - first);
    for (int64_t j = 0; j < count; ++j) {
      if ((word >> j & 1U) == 0) scores[first - keys.begin + j] = kHiddenScore;
    }
  }
}

/// The same for what one query row sees, or any row of a list.
void hide_holes(const Visibility& visibility, int64_t head, int64_t query_row, KeyRange keys,
                int16_t* scores);
void hide_holes(const Visibility& visibility, const ListRows& list, KeyRange keys, int16_t* scores);

/// Hides the keys that query row `query_row` of `head` does not see in row i, and adds its biases.
void hide_keys(const Visibility& visibility, int64_t head, int64_t query_row, const ScoreRows& rows,
               int64_t i);

}  // namespace shadowattn
