// What the Arm kernels share: packing of keys, the walk over a tile, and what becomes of sums. They
// differ in packed layouts and in the instructions between.
//
// A kernel takes eight keys at once, all rows after each other:
//
//   walk_keys(tile, sink, add_rows)   // add_rows(key, sink) calls sink.row(r, key, low, high) with
//                                     // the INT32 sums of row r and keys key … key + 7, in order
//
// Advanced SIMD of Armv8.0 only, and always inlined: files with other flags include this.
#pragma once

#include <arm_neon.h>

#include <cstring>
#include <type_traits>

#include "kernels/pilot_dot/pilot_dot.h"

namespace shadowattn {

inline constexpr int64_t kNeonKeys = 8;

/// Keys of dim bytes, kNeonKeys of them after each other. word_at(j, w) is where word w (four dims)
/// of key j goes among the words of its eight keys.
template <typename WordAt>
[[gnu::always_inline]] inline void pack_key_words(const int8_t* k, int64_t keys, int64_t dim,
                                                  void* packed, WordAt&& word_at) {
  auto* out = static_cast<int8_t*>(packed);
  const int64_t padded = (keys + kPilotKeyBlock - 1) / kPilotKeyBlock * kPilotKeyBlock;
  for (int64_t first = 0; first < padded; first += kNeonKeys, out += kNeonKeys * dim) {
    if (keys - first < kNeonKeys) std::memset(out, 0, static_cast<size_t>(kNeonKeys * dim));
    for (int64_t j = 0; j < kNeonKeys && first + j < keys; ++j) {
      const int8_t* row = k + (first + j) * dim;
      for (int64_t w = 0; w < dim / 4; ++w) std::memcpy(out + word_at(j, w) * 4, row + w * 4, 4);
    }
  }
}

/// Scores of eight keys as 16-bit fixed point.
struct NeonScores {
  const PilotTile& tile;
  float32x4_t low_factor;
  float32x4_t high_factor;

  [[gnu::always_inline]] explicit NeonScores(const PilotTile& t)
      : tile(t), low_factor(vdupq_n_f32(0.0F)), high_factor(vdupq_n_f32(0.0F)) {}

  [[gnu::always_inline]] void start(int64_t key) {
    low_factor = vld1q_f32(tile.key_factor + key);
    high_factor = vld1q_f32(tile.key_factor + key + 4);
  }
  [[gnu::always_inline]] void row(int64_t r, int64_t key, int32x4_t low, int32x4_t high) {
    const float row_factor = tile.row_factor[r];
    const float32x4_t a = vmulq_n_f32(vmulq_f32(vcvtq_f32_s32(low), low_factor), row_factor);
    const float32x4_t b = vmulq_n_f32(vmulq_f32(vcvtq_f32_s32(high), high_factor), row_factor);
    // vqmovn saturates to [-32768, 32767]; the max keeps -32768 free.
    const int16x8_t words = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(a)), vcvtnq_s32_f32(b));
    vst1q_s16(tile.scores + r * tile.stride + key, vmaxq_s16(words, vdupq_n_s16(-32767)));
  }
  [[gnu::always_inline]] void finish(int64_t) {}
};

/// Scores of eight keys as INT8 by a fixed multiplier.
struct NeonFixed {
  const PilotFixed& tile;
  int32x4_t shift;
  int16x8_t mantissa;

  [[gnu::always_inline]] explicit NeonFixed(const PilotFixed& t)
      : tile(t),
        shift(vdupq_n_s32(-t.requantisation.shift)),
        mantissa(vdupq_n_s16(static_cast<int16_t>(t.requantisation.mantissa))) {}

  [[gnu::always_inline]] void start(int64_t) {}
  [[gnu::always_inline]] void row(int64_t r, int64_t key, int32x4_t low, int32x4_t high) {
    // vrshl by a negative count adds half a unit and shifts right; vqrdmulh is
    // (2 · word · mantissa + 2^15) >> 16.
    const int16x8_t words =
        vqmovn_high_s32(vqmovn_s32(vrshlq_s32(low, shift)), vrshlq_s32(high, shift));
    // vqmovn saturates to [-128, 127].
    const int8x8_t bytes = vqmovn_s16(vqrdmulhq_s16(words, mantissa));
    vst1_s8(tile.scores + r * tile.stride + key, vmax_s8(bytes, vdup_n_s8(-127)));
  }
  [[gnu::always_inline]] void finish(int64_t) {}
};

/// Ranks of eight keys: their shares, added up row by row.
template <bool kClamp>
struct NeonRanks {
  const PilotRank& list;
  float32x4_t low_factor;
  float32x4_t high_factor;
  float32x4_t low_share;
  float32x4_t high_share;

  [[gnu::always_inline]] explicit NeonRanks(const PilotRank& l)
      : list(l),
        low_factor(vdupq_n_f32(0.0F)),
        high_factor(vdupq_n_f32(0.0F)),
        low_share(vdupq_n_f32(0.0F)),
        high_share(vdupq_n_f32(0.0F)) {}

  [[gnu::always_inline]] void start(int64_t key) {
    low_factor = vld1q_f32(list.key_factor + key);
    high_factor = vld1q_f32(list.key_factor + key + 4);
    low_share = high_share = vdupq_n_f32(0.0F);
  }
  [[gnu::always_inline]] static float32x4_t share(int32x4_t acc, float32x4_t key_factor,
                                                  float slope, float offset) {
    const float32x4_t product = vmulq_f32(vcvtq_f32_s32(acc), key_factor);
    float32x4_t bits = vfmaq_n_f32(vdupq_n_f32(offset), product, slope);
    if (kClamp) bits = vminq_f32(bits, vdupq_n_f32(kRankCap));
    // The unsigned conversion truncates, and turns what is negative into 0.
    return vreinterpretq_f32_u32(vcvtq_u32_f32(bits));
  }
  [[gnu::always_inline]] void row(int64_t r, int64_t, int32x4_t low, int32x4_t high) {
    const float slope = list.slope[r];
    const float offset = list.offset[r];
    low_share = vaddq_f32(low_share, share(low, low_factor, slope, offset));
    high_share = vaddq_f32(high_share, share(high, high_factor, slope, offset));
  }
  [[gnu::always_inline]] void finish(int64_t key) {
    // The upper halves of the eight shares.
    vst1q_s16(list.rank + key,
              vuzp2q_s16(vreinterpretq_s16_f32(low_share), vreinterpretq_s16_f32(high_share)));
  }
};

/// The halves of eight keys' shares, row by row.
struct NeonShares {
  const PilotShares& list;
  float32x4_t low_factor;
  float32x4_t high_factor;

  [[gnu::always_inline]] explicit NeonShares(const PilotShares& l)
      : list(l), low_factor(vdupq_n_f32(0.0F)), high_factor(vdupq_n_f32(0.0F)) {}

  [[gnu::always_inline]] void start(int64_t key) {
    low_factor = vld1q_f32(list.key_factor + key);
    high_factor = vld1q_f32(list.key_factor + key + 4);
  }
  [[gnu::always_inline]] static int32x4_t halves(int32x4_t acc, float32x4_t key_factor, float slope,
                                                 float offset) {
    const float32x4_t product = vmulq_f32(vcvtq_f32_s32(acc), key_factor);
    return vcvtnq_s32_f32(vfmaq_n_f32(vdupq_n_f32(offset), product, slope));
  }
  [[gnu::always_inline]] void row(int64_t r, int64_t key, int32x4_t low, int32x4_t high) {
    const float slope = list.slope[r];
    const float offset = list.offset[r];
    // vqmovun saturates to [0, 65535].
    const uint16x8_t words =
        vminq_u16(vqmovun_high_s32(vqmovun_s32(halves(low, low_factor, slope, offset)),
                                   halves(high, high_factor, slope, offset)),
                  vdupq_n_u16(static_cast<uint16_t>(kShareCap)));
    vst1q_u16(list.half + r * list.stride + key, words);
    const uint16x8_t zero = vdupq_n_u16(0);
    float* total = list.total + r * kShareLanes;
    const float32x4_t sum = vaddq_f32(vreinterpretq_f32_u16(vzip1q_u16(zero, words)),
                                      vreinterpretq_f32_u16(vzip2q_u16(zero, words)));
    vst1q_f32(total, vaddq_f32(vld1q_f32(total), sum));
  }
  [[gnu::always_inline]] void finish(int64_t) {}
};

/// step(rows as a constant, first row) for the steps of at most 12 rows that `rows` are done in: 12
/// rows and eight keys are 24 accumulators of the 32 registers.
template <typename Step>
[[gnu::always_inline]] inline void for_steps(int64_t rows, Step&& step) {
  int64_t row = 0;
  for (; row + 12 <= rows; row += 12) step(std::integral_constant<int, 12>(), row);
  const int64_t left = rows - row;
  if ((left & 8) != 0) step(std::integral_constant<int, 8>(), row);
  row += left & 8;
  if ((left & 4) != 0) step(std::integral_constant<int, 4>(), row);
  row += left & 4;
  if ((left & 2) != 0) step(std::integral_constant<int, 2>(), row);
  row += left & 2;
  if ((left & 1) != 0) step(std::integral_constant<int, 1>(), row);
}

/// Keys outside: eight keys (at most 4 kB) stay in the first-level cache for all rows.
template <typename Tile, typename Sink, typename AddRows>
[[gnu::always_inline]] inline void walk_keys(const Tile& tile, Sink sink, AddRows&& add_rows) {
  for (int64_t key = 0; key < tile.key_blocks * kPilotKeyBlock; key += kNeonKeys) {
    sink.start(key);
    add_rows(key, sink);
    sink.finish(key);
  }
}

}  // namespace shadowattn
