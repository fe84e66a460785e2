// Vector extensions of the compiler: what the baseline of this build can do.
#include "peaks/peak_kernels.h"

namespace shadowattn::bench {

void peak_f32_generic(int64_t steps) {
  typedef float Vector __attribute__((vector_size(16)));
  Vector acc[kPeakChains] = {};
  Vector a = {0.5F, 0.5F, 0.5F, 0.5F};
  const Vector b = {0.25F, 0.25F, 0.25F, 0.25F};
  for (int64_t i = 0; i < steps; ++i) {
    for (Vector& x : acc) {
#if defined(__x86_64__)
      asm volatile("" : "+x"(a));
#else
      asm volatile("" : "+w"(a));
#endif
      x = x + a * b;
    }
  }
  for (const Vector& x : acc) asm volatile("" : : "m"(x));
}

}  // namespace shadowattn::bench
