#include <arm_neon.h>

#include "peaks/peak_loop.h"

namespace shadowattn::bench {

void peak_int8_i8mm(int64_t steps) {
  peak_loop<kPeakChainsNeon>(
      steps, vdupq_n_s32(0), vdupq_n_s8(3), vdupq_n_s8(-5),
      [](int32x4_t acc, int8x16_t a, int8x16_t b) { return vmmlaq_s32(acc, a, b); });
}

void peak_bf16_bf16(int64_t steps) {
  // bf16 is the upper half of an f32: about 0.5 and 0.25 in both halves of each lane. (GCC 12 would
  // make rounder ones with an instruction of another extension.)
  peak_loop<kPeakChainsNeon>(
      steps, vdupq_n_f32(0.0F), vreinterpretq_bf16_u32(vdupq_n_u32(0x3F013F01)),
      vreinterpretq_bf16_u32(vdupq_n_u32(0x3E813E81)),
      [](float32x4_t acc, bfloat16x8_t a, bfloat16x8_t b) { return vbfmmlaq_f32(acc, a, b); });
}

}  // namespace shadowattn::bench
