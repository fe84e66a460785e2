// Four f32 lanes with Advanced SIMD. Interface: see generic.h; beyond it, fma_lane.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace shadowattn::simd {

struct Neon {
  using Vec = float32x4_t;
  static constexpr int kLanes = 4;
  static constexpr int kAccumulators = 16;

  static Vec zero() { return vdupq_n_f32(0.0F); }
  static Vec set1(float x) { return vdupq_n_f32(x); }
  static Vec load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Vec v) { vst1q_f32(p, v); }
  static Vec load_half(const uint16_t* p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
  }
  static Vec set1_half(const uint16_t* p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_dup_u16(p)));
  }
  static Vec load_int8(const int8_t* p) {
    uint32_t bytes;
    std::memcpy(&bytes, p, sizeof bytes);
    const int16x8_t words = vmovl_s8(vcreate_s8(bytes));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)));
  }
  static Vec load_upper(const uint16_t* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
  }
  static Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
  static Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
  static Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
  static Vec div(Vec a, Vec b) { return vdivq_f32(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
  /// a · b[kLane] + c: four factors from one load, none of which has to be broadcast. Of the
  /// intrinsic GCC 12 makes dup and fmla where several products share a factor, and moves.
  template <int kLane>
  static Vec fma_lane(Vec a, Vec b, Vec c) {
    asm("fmla %0.4s, %1.4s, %2.s[%3]" : "+w"(c) : "w"(a), "w"(b), "i"(kLane));
    return c;
  }
  // Not fmax, which returns the NaN, nor fmaxnm, which returns the number: the second operand.
  static Vec max(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static Vec min(Vec a, Vec b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static Vec select_less(Vec a, Vec b, Vec x, Vec y) { return vbslq_f32(vcltq_f32(a, b), x, y); }
  static Vec select_equal(Vec a, Vec b, Vec x, Vec y) { return vbslq_f32(vceqq_f32(a, b), x, y); }
  static Vec select_bit(const uint32_t* words, int bit, Vec x, Vec y) {
    return vbslq_f32(vtstq_u32(vld1q_u32(words), vdupq_n_u32(1U << bit)), x, y);
  }
  static Vec round(Vec a) { return vrndnq_f32(a); }
  static Vec exp2_int(Vec n) {
    const int32x4_t biased = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(biased, 23));
  }
  static float reduce_add(Vec v) { return vaddvq_f32(v); }
  static Vec reduce_each(const Vec (&v)[kLanes]) {
    return vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3]));
  }
  static void store_int8(int8_t* p, Vec v) {
    const int16x4_t words = vmovn_s32(vcvtnq_s32_f32(v));
    const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
    const int32_t four = vget_lane_s32(vreinterpret_s32_s8(bytes), 0);
    std::memcpy(p, &four, sizeof four);
  }
  static bool any_different(Vec a, Vec b) { return vminvq_u32(vceqq_f32(a, b)) == 0; }
  static Vec max_magnitude(Vec largest, Vec v) {
    const int32x4_t bits = vandq_s32(vreinterpretq_s32_f32(v), vdupq_n_s32(0x7FFFFFFF));
    return vreinterpretq_f32_s32(vmaxq_s32(vreinterpretq_s32_f32(largest), bits));
  }
  static float reduce_max_magnitude(Vec v) {
    const int32_t bits = vmaxvq_s32(vreinterpretq_s32_f32(v));
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  static uint32_t mask_less(Vec a, Vec b) {
    const uint32_t bits[kLanes] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcltq_f32(a, b), vld1q_u32(bits)));
  }
  static int count_less(Vec a, Vec b) {
    return -vaddvq_s32(vreinterpretq_s32_u32(vcltq_f32(a, b)));
  }
  static bool any_nonfinite(Vec v) {
    const uint32x4_t exponent = vdupq_n_u32(0x7F800000);
    const uint32x4_t bits = vandq_u32(vreinterpretq_u32_f32(v), exponent);
    return vmaxvq_u32(vceqq_u32(bits, exponent)) != 0;
  }
};

}  // namespace shadowattn::simd
