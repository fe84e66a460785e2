// The rows that the packing functions of attend16 read.
#pragma once

#include <cstdint>

#include "kernels/attend16/attend16.h"

namespace shadowattn {

/// Below this a row counts as zero: its inverse must not overflow.
inline constexpr float kSmallestRow = 0x1p-100F;

struct PackRows {
  const RowSource& source;
  const int32_t* index;
  int64_t first;
  int64_t count;

  const char* row(int64_t j) const {
    const int64_t i = index != nullptr ? index[j] : first + j;
    return static_cast<const char*>(source.data) + i * source.stride;
  }

  /// Asks for the row that will be packed `kAhead` (of a list) or kAttendBlock (of a contiguous
  /// run) rows after row j; that one may not exist, and a prefetch of nothing does no harm. One row
  /// at a time: bursts only fill the queue of misses. The hardware's prefetcher finds neither
  /// scattered rows nor one head's part of every row. (Always inline: GCC takes a function that
  /// only prefetches for one without effect and drops calls of it.)
  [[gnu::always_inline]] void prefetch(int64_t j, int64_t bytes) const {
    constexpr int64_t kAhead = 16;
    const int64_t next = j + (index != nullptr ? kAhead : kAttendBlock);
    if (index != nullptr && next >= count) return;
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(row(next) + i);
  }
};

}  // namespace shadowattn
