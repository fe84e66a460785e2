// The loop of every peak kernel.
#pragma once

#include <cstdint>

#include "peaks/peak_kernels.h"

namespace shadowattn::bench {

/// acc = step(acc, a, b) in kChains chains. The empty assembly makes the operands unknown to
/// the compiler before each step, which could otherwise compute a product once for all of them.
template <int kChains, typename Acc, typename Operand, typename Step>
inline void peak_loop(int64_t steps, Acc zero, Operand a, Operand b, const Step& step) {
  Acc acc[kChains];
  for (Acc& x : acc) x = zero;
  for (int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 32
    for (int chain = 0; chain < kChains; ++chain) {
      asm volatile("" : "+v"(a), "+v"(b));
      acc[chain] = step(acc[chain], a, b);
    }
  }
  for (Acc& x : acc) asm volatile("" : : "v"(x));
}

}  // namespace shadowattn::bench
