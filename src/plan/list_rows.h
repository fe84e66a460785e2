// Which rows share a token list.
#pragma once

#include <cstdint>

#include "plan/list_plan.h"

namespace shadowattn {

/// The rows of a tile that share one token list: query rows × query heads of one KV head.
struct ListRows {
  RowRange rows;
  int64_t first_head = 0;
  int64_t heads = 0;
  int64_t step = 1;  ///< of the rows only every step-th

  int64_t count() const { return (rows.count + step - 1) / step * heads; }
  /// Flat index i: heads of the first row, then of the second, …
  int64_t head(int64_t i) const { return first_head + i % heads; }
  int64_t row(int64_t i) const { return rows.first + i / heads * step; }

  /// Every `n`-th of the rows, the last one among them.
  ListRows sampled(int64_t n) const {
    const int64_t skipped = (rows.count - 1) % n;
    return {{rows.first + skipped, rows.count - skipped}, first_head, heads, n};
  }
};

/// What the rows of a list may see: begin ≤ key < end for all that any of them sees; begin ≥ end
/// when they see nothing.
KeyRange visible_range(const Visibility& visibility, const ListRows& list);

/// Which of the keys first … first + kWordKeys - 1 some row of the list sees (Visibility::seen).
uint64_t seen_by_any(const Visibility& visibility, const ListRows& list, int64_t first);

/// How many keys some row of the list sees; where all rows are plain, those between them as well.
int64_t count_seen(const Visibility& visibility, const ListRows& list);

}  // namespace shadowattn
