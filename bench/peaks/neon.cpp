#include <arm_neon.h>

#include "peaks/peak_loop.h"

namespace shadowattn::bench {

void peak_f32_neon(int64_t steps) {
  peak_loop<kPeakChainsNeon>(steps, vdupq_n_f32(0.0F), vdupq_n_f32(0.5F), vdupq_n_f32(0.25F),
                             [](float32x4_t acc, float32x4_t a, float32x4_t b) {
                               // GCC 12 adds a move to every vfmaq_f32 here.
                               asm("fmla %0.4s, %1.4s, %2.4s" : "+w"(acc) : "w"(a), "w"(b));
                               return acc;
                             });
}

void peak_int16_neon(int64_t steps) {
  peak_loop<kPeakChainsNeon>(
      steps, vdupq_n_s32(0), vdupq_n_s16(3), vdupq_n_s16(-5),
      [](int32x4_t acc, int16x8_t a, int16x8_t b) { return vmlal_high_s16(acc, a, b); });
}

}  // namespace shadowattn::bench
