// What a group of rows sees of a block, for attend16.
#pragma once

#include <cstdint>

#include "kernels/attend16/attend16.h"

namespace shadowattn {

/// Whether every row from `row` on sees every key of a full block and nothing is to be added.
inline bool is_plain(const Attend16Block& b, int64_t row, int rows) {
  if (b.keys < kAttendBlock || b.bias != nullptr || b.logit_softcap != 0.0F) return false;
  if (b.row_begin == nullptr) return true;
  for (int64_t r = row; r < row + rows; ++r) {
    if (b.row_begin[r] > b.position || b.row_end[r] < b.position + b.keys) return false;
  }
  return true;
}

inline bool sees_nothing(const Attend16Block& b, int64_t row, int rows) {
  if (b.row_begin == nullptr) return false;
  for (int64_t r = row; r < row + rows; ++r) {
    if (b.row_begin[r] < b.position + b.keys && b.row_end[r] > b.position) return false;
  }
  return true;
}

}  // namespace shadowattn
