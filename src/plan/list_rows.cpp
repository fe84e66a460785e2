#include "plan/list_rows.h"

#include <algorithm>
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

}  // namespace shadowattn
