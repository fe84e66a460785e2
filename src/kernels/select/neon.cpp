// Eight scores per vector, four vectors per step; arrays are padded to 32, so there is no tail.
#include <arm_neon.h>

#include "kernels/select/top_k_impl.h"
#include "kernels/simd/unroll.h"

namespace shadowattn {
namespace {

/// One bit per score of 16 comparisons (0 or all bits set), in every fourth bit: NEON has no
/// instruction for such a mask, but narrowing by a shift of 4 keeps half a byte of each.
inline uint64_t mask_bits(uint16x8_t low, uint16x8_t high) {
  const uint8x16_t bytes = vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
  const uint8x8_t nibbles = vshrn_n_u16(vreinterpretq_u16_u8(bytes), 4);
  return vget_lane_u64(vreinterpret_u64_u8(nibbles), 0) & 0x1111111111111111U;
}

struct NeonOps {
  static int16_t row_max(const int16_t* p, int64_t n) {
    int16x8_t largest[4];
    unrolled<4>([&](auto v)
                    __attribute__((always_inline)) { largest[v] = vdupq_n_s16(kHiddenScore); });
    for (int64_t j = 0; j < n; j += 32) {
      unrolled<4>([&](auto v) __attribute__((always_inline)) {
        largest[v] = vmaxq_s16(largest[v], vld1q_s16(p + j + v * 8));
      });
    }
    return vmaxvq_s16(
        vmaxq_s16(vmaxq_s16(largest[0], largest[1]), vmaxq_s16(largest[2], largest[3])));
  }

  static int64_t count_at_least(const int16_t* p, int64_t n, int16_t threshold) {
    const int16x8_t limit = vdupq_n_s16(threshold);
    constexpr int64_t kChunk = 32LL * 32768;  // a lane holds 65535
    int64_t total = 0;
    for (int64_t first = 0; first < n; first += kChunk) {
      const int64_t end = n - first < kChunk ? n : first + kChunk;
      uint16x8_t count[4];
      unrolled<4>([&](auto v) __attribute__((always_inline)) { count[v] = vdupq_n_u16(0); });
      for (int64_t j = first; j < end; j += 32) {
        unrolled<4>([&](auto v) __attribute__((always_inline)) {
          count[v] = vsubq_u16(count[v], vcgeq_s16(vld1q_s16(p + j + v * 8), limit));
        });
      }
      unrolled<4>([&](auto v) __attribute__((always_inline)) { total += vaddlvq_u16(count[v]); });
    }
    return total;
  }

  static int64_t collect(const int16_t* p, int64_t n, int16_t threshold, int64_t ties,
                         int32_t* out) {
    const int16x8_t limit = vdupq_n_s16(threshold);
    int32_t* next = out;
    for (int64_t j = 0; j < n; j += 16) {
      const int16x8_t low = vld1q_s16(p + j);
      const int16x8_t high = vld1q_s16(p + j + 8);
      uint64_t wanted = mask_bits(vcgeq_s16(low, limit), vcgeq_s16(high, limit));
      if (wanted == 0) continue;
      uint64_t equal = mask_bits(vceqq_s16(low, limit), vceqq_s16(high, limit));
      while (equal != 0) {  // rare: one pass per tie
        const uint64_t lowest = equal & (0U - equal);
        if (ties-- <= 0) wanted &= ~lowest;
        equal &= equal - 1;
      }
      for (; wanted != 0; wanted &= wanted - 1) {
        *next++ = static_cast<int32_t>(j) + (__builtin_ctzll(wanted) >> 2);
      }
    }
    return next - out;
  }
};

/// round(2^16 · e2(difference · c)) of four keys.
inline int32x4_t exp_terms(int32x4_t difference, float32x4_t c) {
  const float32x4_t x = vmulq_f32(vcvtq_f32_s32(difference), c);
  // The unsigned conversion to 23 binary places multiplies by 2^23 and truncates, and turns what
  // is negative into 0.
  const uint32x4_t bits = vcvtq_n_u32_f32(vaddq_f32(x, vdupq_n_f32(127.0F)), 23);
  return vcvtnq_s32_f32(
      vmulq_f32(vreinterpretq_f32_u32(bits), vdupq_n_f32(static_cast<float>(kExpSumOne))));
}

}  // namespace

int16_t select_row_max_neon(const int16_t* scores, int64_t n) {
  return NeonOps::row_max(scores, n);
}

int64_t select_exp_sum_neon(const int16_t* scores, int16_t row_max, int64_t n, float c) {
  const int16x4_t maximum = vdup_n_s16(row_max);
  const int16x8_t maximum8 = vdupq_n_s16(row_max);
  const int16x8_t hidden = vdupq_n_s16(kHiddenScore);
  const float32x4_t per_unit = vdupq_n_f32(c);
  constexpr int64_t kChunk = 8LL * 16384;  // a lane holds 32767 times kExpSumOne
  int64_t total = 0;
  for (int64_t first = 0; first < n; first += kChunk) {
    const int64_t end = n - first < kChunk ? n : first + kChunk;
    int32x4_t low_sum = vdupq_n_s32(0);
    int32x4_t high_sum = vdupq_n_s32(0);
    for (int64_t j = first; j < end; j += 8) {
      const int16x8_t s = vld1q_s16(scores + j);
      const int16x8_t is_hidden = vreinterpretq_s16_u16(vceqq_s16(s, hidden));
      const int32x4_t low = exp_terms(vsubl_s16(vget_low_s16(s), maximum), per_unit);
      const int32x4_t high = exp_terms(vsubl_high_s16(s, maximum8), per_unit);
      low_sum = vaddq_s32(low_sum, vbicq_s32(low, vmovl_s16(vget_low_s16(is_hidden))));
      high_sum = vaddq_s32(high_sum, vbicq_s32(high, vmovl_high_s16(is_hidden)));
    }
    total += vaddlvq_s32(low_sum) + vaddlvq_s32(high_sum);
  }
  return total;
}

void select_merge_neon(const int16_t* scores, int16_t level, int64_t n, int16_t* importance) {
  const int16x8_t hidden = vdupq_n_s16(kHiddenScore);
  const int16x8_t floor = vdupq_n_s16(kHiddenScore + 1);
  const int16x8_t maximum = vdupq_n_s16(level);
  for (int64_t j = 0; j < n; j += 16) {
    unrolled<2>([&](auto half) __attribute__((always_inline)) {
      const int64_t at = j + half * 8;
      const int16x8_t v = vld1q_s16(scores + at);
      const int16x8_t relative = vmaxq_s16(vqsubq_s16(v, maximum), floor);
      const int16x8_t kept = vbslq_s16(vceqq_s16(v, hidden), hidden, relative);
      vst1q_s16(importance + at, vmaxq_s16(vld1q_s16(importance + at), kept));
    });
  }
}

int64_t select_top_k_neon(const int16_t* importance, int64_t n, int64_t k, int32_t* out) {
  return top_k<NeonOps>(importance, n, k, out);
}

}  // namespace shadowattn
