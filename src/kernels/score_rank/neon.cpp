// A step's shares stay in registers for all rows, and its ranks are written once.
#include <arm_neon.h>

#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/score_rank/score_rank.h"
#include "kernels/simd/unroll.h"

namespace shadowattn {
namespace {

constexpr int kVecs = static_cast<int>(kScoreRankKeys / 4);

/// Four bytes of `scores` as f32. `places` moves them to the top of 32-bit lanes: as numbers with
/// 24 binary places they are what they were, and one table look-up does what two widenings would.
inline float32x4_t widened(int8x16_t scores, uint8x16_t places) {
  return vcvtq_n_f32_s32(vreinterpretq_s32_s8(vqtbl1q_s8(scores, places)), 24);
}

template <bool kClamp>
inline float32x4_t share_of(float32x4_t score, float32x4_t slope, float32x4_t offset) {
  float32x4_t bits = vfmaq_f32(offset, score, slope);
  if (kClamp) bits = vminq_f32(bits, vdupq_n_f32(kRankCap));
  // The unsigned conversion truncates, and turns what is negative into 0.
  return vreinterpretq_f32_u32(vcvtq_u32_f32(bits));
}

template <bool kClamp>
void rank_list(const ScoreRank& list) {
  // Byte i of a 16-byte vector to the top of lane i % 4; 0xFF gives 0.
  uint8x16_t places[4];
  unrolled<4>([&](auto v) __attribute__((always_inline)) {
    places[v] = vreinterpretq_u8_u32(
        uint32x4_t{0x00FFFFFFU | (4U * v) << 24, 0x00FFFFFFU | (4U * v + 1U) << 24,
                   0x00FFFFFFU | (4U * v + 2U) << 24, 0x00FFFFFFU | (4U * v + 3U) << 24});
  });
  for (int64_t key = 0; key < list.keys; key += kScoreRankKeys) {
    float32x4_t share[kVecs];
    unrolled<kVecs>([&](auto v) __attribute__((always_inline)) { share[v] = vdupq_n_f32(0.0F); });
    const int8_t* scores = list.scores + key;
    for (int64_t r = 0; r < list.rows; ++r, scores += list.stride) {
      const float32x4_t slope = vdupq_n_f32(list.slope[r]);
      const float32x4_t offset = vdupq_n_f32(list.offset[r]);
      unrolled<kVecs / 4>([&](auto b) __attribute__((always_inline)) {
        const int8x16_t bytes = vld1q_s8(scores + b * 16);
        unrolled<4>([&](auto v) __attribute__((always_inline)) {
          share[b * 4 + v] = vaddq_f32(share[b * 4 + v],
                                       share_of<kClamp>(widened(bytes, places[v]), slope, offset));
        });
      });
    }
    unrolled<kVecs / 2>([&](auto v) __attribute__((always_inline)) {
      // The upper halves of eight shares.
      vst1q_s16(list.rank + key + v * 8, vuzp2q_s16(vreinterpretq_s16_f32(share[2 * v]),
                                                    vreinterpretq_s16_f32(share[2 * v + 1])));
    });
  }
}

}  // namespace

void score_rank_ranks_neon(const ScoreRank& list) {
  list.in_range ? rank_list<false>(list) : rank_list<true>(list);
}

void score_rank_widen_neon(const int8_t* scores, int64_t keys, int16_t* out) {
  int64_t j = 0;
  for (; j + 16 <= keys; j += 16) {
    const int8x16_t bytes = vld1q_s8(scores + j);
    // Pairs of a zero and a byte: 16-bit words with the byte on top.
    vst1q_s16(out + j, vreinterpretq_s16_s8(vzip1q_s8(vdupq_n_s8(0), bytes)));
    vst1q_s16(out + j + 8, vreinterpretq_s16_s8(vzip2q_s8(vdupq_n_s8(0), bytes)));
  }
  for (; j < keys; ++j) out[j] = static_cast<int16_t>(scores[j] * 256);
}

}  // namespace shadowattn
