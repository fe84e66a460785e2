// Integer dot and matrix products of Arm with accumulators that stay where they are, like those of
// avx512_dot.h.
#pragma once

#include <arm_neon.h>

namespace shadowattn {

/// acc += Σ of four products of a 32-bit lane of `a` and lane kLane of `b`, lane by lane.
/// FEAT_DotProd.
template <int kLane>
[[gnu::always_inline]] inline void dot_bytes_lane(int32x4_t& acc, int8x16_t a, int8x16_t b) {
  asm("sdot %0.4s, %1.16b, %2.4b[%c3]" : "+w"(acc) : "w"(a), "w"(b), "i"(kLane));
}

/// acc += a · bᵀ: 2 × 2 sums of eight products each, of the 64-bit halves of a and b. FEAT_I8MM.
[[gnu::always_inline]] inline void multiply_pairs(int32x4_t& acc, int8x16_t a, int8x16_t b) {
  asm("smmla %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(a), "w"(b));
}

}  // namespace shadowattn
