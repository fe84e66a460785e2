// Integer dot products with accumulators that stay where they are. The intrinsics of GCC 12 copy
// the accumulator before and after every vpdpbusd and vpdpwssd, which halves the speed of a loop
// of them.
#pragma once

#include <immintrin.h>

namespace shadowattn {

/// acc += Σ of four products of an unsigned byte of `u` and a signed byte of `s`, lane by lane.
[[gnu::always_inline]] inline void dot_bytes(__m512i& acc, __m512i u, __m512i s) {
  asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u), "v"(s));
}

/// acc += Σ of two products of signed 16-bit words, lane by lane.
[[gnu::always_inline]] inline void dot_words(__m512i& acc, __m512i a, __m512i b) {
  asm("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
}

}  // namespace shadowattn
