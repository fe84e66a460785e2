#include "plan/list_rows.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace shadowattn {

KeyRange visible_range(const Visibility& visibility, const ListRows& list) {
  KeyRange range{std::numeric_limits<int64_t>::max(), 0};
  for (int64_t i = 0; i < list.count(); ++i) {
    const RowVisibility& seen = visibility.row(list.head(i), list.row(i));
    if (seen.visible == 0) continue;
    range.begin = std::min<int64_t>(range.begin, seen.begin);
    range.end = std::max<int64_t>(range.end, seen.end);
  }
  return range;
}

uint64_t seen_by_any(const Visibility& visibility, const ListRows& list, int64_t first) {
  const int64_t heads = std::min(list.heads, visibility.mask_heads());
  uint64_t word = 0;
  for (int64_t row = list.rows.first; row < list.rows.first + list.rows.count; row += list.step) {
    for (int64_t h = 0; h < heads; ++h) word |= visibility.seen(list.first_head + h, row, first);
  }
  return word;
}

int64_t count_seen(const Visibility& visibility, const ListRows& list) {
  const KeyRange range = visible_range(visibility, list);
  if (range.begin >= range.end) return 0;
  if (visibility.all_plain()) return range.end - range.begin;
  int64_t count = 0;
  for (int64_t first = range.begin; first < range.end; first += kWordKeys) {
    count += std::popcount(seen_by_any(visibility, list, first));
  }
  return count;
}

}  // namespace shadowattn
