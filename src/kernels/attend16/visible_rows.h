// What a group of rows sees of a block, for attend16.
#pragma once

#include <cstdint>

#include "kernels/attend16/attend16.h"

namespace shadowattn {

/// Bit j: the row sees key j.
inline uint64_t seen_keys(const Attend16Block& b, int64_t row) {
  const uint64_t keys = ~uint64_t{0} >> (kAttendBlock - b.keys);
  return b.visible == nullptr ? keys : b.visible[row];
}

/// Whether every row from `row` on sees every key of a full block and nothing is to be added.
inline bool is_plain(const Attend16Block& b, int64_t row, int rows) {
  if (b.keys < kAttendBlock || b.bias != nullptr || b.logit_softcap != 0.0F) return false;
  uint64_t common = ~uint64_t{0};
  for (int64_t r = row; r < row + rows; ++r) common &= seen_keys(b, r);
  return common == ~uint64_t{0};
}

inline bool sees_nothing(const Attend16Block& b, int64_t row, int rows) {
  uint64_t any = 0;
  for (int64_t r = row; r < row + rows; ++r) any |= seen_keys(b, r);
  return any == 0;
}

}  // namespace shadowattn
