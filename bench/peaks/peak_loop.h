// The loop of every peak kernel.
#pragma once

#include <cstdint>

#include "peaks/peak_kernels.h"

namespace shadowattn::bench {

/// Makes a vector register unknown to the compiler.
template <typename Vector>
[[gnu::always_inline]] inline void hide(Vector& x) {
#if defined(__aarch64__)
  asm volatile("" : "+w"(x));
#else
  asm volatile("" : "+v"(x));
#endif
}

/// acc = step(acc, a, b) in kChains chains. The operands are hidden before each step: the
/// compiler could otherwise compute a product once for all of them.
template <int kChains, typename Acc, typename Operand, typename Step>
inline void peak_loop(int64_t steps, Acc zero, Operand a, Operand b, const Step& step) {
  Acc acc[kChains];
  for (Acc& x : acc) x = zero;
  for (int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 32
    for (int chain = 0; chain < kChains; ++chain) {
      hide(a);
      hide(b);
      acc[chain] = step(acc[chain], a, b);
    }
  }
  for (Acc& x : acc) hide(x);
}

}  // namespace shadowattn::bench
