// Walking down the rows of a matrix in tiles that leave hardly a register free.
#pragma once

#include <cstdint>

namespace shadowattn {

/// p += stride. The compiler is not to know where that is: it would keep an address for every load
/// of several rows, which makes no pairs of them, and load ahead, for which there are no registers.
template <typename T>
[[gnu::always_inline]] inline void next_row(const T*& p, int64_t stride) {
  p += stride;
  asm volatile("" : "+r"(p) : : "memory");
}

}  // namespace shadowattn
