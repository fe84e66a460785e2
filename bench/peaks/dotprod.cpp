#include <arm_neon.h>

#include "peaks/peak_loop.h"

namespace shadowattn::bench {

void peak_int8_dotprod(int64_t steps) {
  peak_loop<kPeakChainsNeon>(
      steps, vdupq_n_s32(0), vdupq_n_s8(3), vdupq_n_s8(-5),
      [](int32x4_t acc, int8x16_t a, int8x16_t b) { return vdotq_s32(acc, a, b); });
}

}  // namespace shadowattn::bench
