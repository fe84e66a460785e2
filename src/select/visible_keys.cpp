#include "select/visible_keys.h"

#include <algorithm>
#include <bit>

namespace shadowattn {

TokenList VisibleKeys::find(const Visibility& visibility, const ListRows& rows, KeyRange within) {
  const KeyRange seen = visible_range(visibility, rows);
  const int64_t begin = std::max(seen.begin, within.begin);
  const int64_t end = std::min(seen.end, within.end);
  if (begin >= end) return {nullptr, within.begin, 0};
  const TokenList run{nullptr, begin, end - begin};
  if (visibility.all_plain()) return run;
  int32_t* keys = keys_.data();
  int64_t count = 0;
  for (int64_t first = begin; first < end; first += kWordKeys) {
    uint64_t word = seen_by_any(visibility, rows, first);
    if (end - first < kWordKeys) word &= ~(~uint64_t{0} << (end - first));
    for (; word != 0; word &= word - 1) {
      keys[count++] = static_cast<int32_t>(first + std::countr_zero(word));
    }
  }
  const bool nearly_all = static_cast<double>(count) > kNearlyAll * static_cast<double>(run.count);
  return nearly_all ? run : TokenList{keys, 0, count};
}

}  // namespace shadowattn
