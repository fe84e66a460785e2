// Operands of the Arm attend16 kernel: rows of f32, f16 or q8_0 to INT16 or BF16, and the layouts
// of bf16.cpp.
#pragma once

#include <arm_neon.h>

#include <cstring>

#include "kernels/attend16/attend16.h"
#include "kernels/attend16/pack_rows.h"
#include "kernels/simd/load_row.h"

namespace shadowattn {

/// Eight neighbouring elements.
struct ElementPair {
  float32x4_t low;
  float32x4_t high;
};

inline float largest_magnitude(const ElementPair& largest) {
  const int32_t bits = vmaxvq_s32(
      vmaxq_s32(vreinterpretq_s32_f32(largest.low), vreinterpretq_s32_f32(largest.high)));
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// |v| where its bits are larger: NaN above infinity above all numbers.
inline float32x4_t max_magnitude(float32x4_t largest, float32x4_t v) {
  const int32x4_t bits = vreinterpretq_s32_f32(vabsq_f32(v));
  return vreinterpretq_f32_s32(vmaxq_s32(vreinterpretq_s32_f32(largest), bits));
}

struct FloatElements {
  static constexpr ElementType kType = ElementType::kF32;
  static ElementPair load(const char* row, int64_t d) {
    const auto* x = reinterpret_cast<const float*>(row) + d;
    return {vld1q_f32(x), vld1q_f32(x + 4)};
  }
  /// Subnormal numbers become zeros: BF16 has none here.
  static ElementPair load_value(const char* row, int64_t d) {
    const ElementPair x = load(row, d);
    return {flushed(x.low), flushed(x.high)};
  }
  static float absmax(const char* row, int64_t dim) {
    ElementPair largest = {vdupq_n_f32(0.0F), vdupq_n_f32(0.0F)};
    for (int64_t d = 0; d < dim; d += 8) {
      const ElementPair x = load(row, d);
      largest = {max_magnitude(largest.low, x.low), max_magnitude(largest.high, x.high)};
    }
    return largest_magnitude(largest);
  }

 private:
  static float32x4_t flushed(float32x4_t v) {
    const uint32x4_t normal = vcagtq_f32(vdupq_n_f32(0x1p-126F), v);
    return vbslq_f32(vbicq_u32(normal, vdupq_n_u32(0x80000000U)), vdupq_n_f32(0.0F), v);
  }
};

struct HalfElements {
  static constexpr ElementType kType = ElementType::kF16;
  static ElementPair load(const char* row, int64_t d) {
    const auto* x = reinterpret_cast<const uint16_t*>(row) + d;
    const float16x8_t half = vreinterpretq_f16_u16(vld1q_u16(x));
    return {vcvt_f32_f16(vget_low_f16(half)), vcvt_high_f32_f16(half)};
  }
  static ElementPair load_value(const char* row, int64_t d) { return load(row, d); }
  static float absmax(const char* row, int64_t dim) {
    uint16x8_t largest = vdupq_n_u16(0);
    for (int64_t d = 0; d < dim; d += 8) {
      const uint16x8_t x = vld1q_u16(reinterpret_cast<const uint16_t*>(row) + d);
      largest = vmaxq_u16(largest, vandq_u16(x, vdupq_n_u16(0x7FFF)));
    }
    const float16x4_t half = vreinterpret_f16_u16(vdup_n_u16(vmaxvq_u16(largest)));
    return vgetq_lane_f32(vcvt_f32_f16(half), 0);
  }
};

struct Q8Elements {
  static constexpr ElementType kType = ElementType::kQ8_0;
  static ElementPair load(const char* row, int64_t d) {
    const char* block = row + d / kQ8BlockElements * kQ8BlockBytes;
    const float16x4_t half =
        vreinterpret_f16_u16(vld1_dup_u16(reinterpret_cast<const uint16_t*>(block)));
    const float32x4_t scale = vcvt_f32_f16(half);
    const auto* q = reinterpret_cast<const int8_t*>(block + sizeof(uint16_t));
    const int16x8_t words = vmovl_s8(vld1_s8(q + d % kQ8BlockElements));
    return {vmulq_f32(scale, vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)))),
            vmulq_f32(scale, vcvtq_f32_s32(vmovl_high_s16(words)))};
  }
  static ElementPair load_value(const char* row, int64_t d) { return load(row, d); }
  /// The largest |d| · |q|; infinite or NaN when a scale is.
  static float absmax(const char* row, int64_t dim) {
    ElementPair largest = {vdupq_n_f32(0.0F), vdupq_n_f32(0.0F)};
    for (int64_t d = 0; d < dim; d += 8) {
      const ElementPair x = load(row, d);
      largest = {max_magnitude(largest.low, x.low), max_magnitude(largest.high, x.high)};
    }
    return largest_magnitude(largest);
  }
};

/// Eight elements times `inverse`, ties to even. They fit INT16.
inline int16x8_t to_int16(const ElementPair& x, float inverse) {
  const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(x.low, inverse));
  const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(x.high, inverse));
  return vuzp1q_s16(vreinterpretq_s16_s32(low), vreinterpretq_s16_s32(high));
}

/// Eight INT16 elements of two rows as x = 128 · high + low, low in [-64, 63]: both INT8, the
/// second row's in the upper half.
struct SplitPair {
  int8x16_t low;
  int8x16_t high;
};

inline SplitPair split_pair(int16x8_t a, int16x8_t b) {
  // Of the lower byte seven bits, with sign; of the rest what (x + 64) / 128 leaves, rounded down.
  const int8x16_t bytes = vuzp1q_s8(vreinterpretq_s8_s16(a), vreinterpretq_s8_s16(b));
  return {vshrq_n_s8(vshlq_n_s8(bytes, 1), 1), vrshrn_high_n_s16(vrshrn_n_s16(a, 7), b, 7)};
}

inline bool pack_query16(const float* q, int64_t dim, float factor, int16_t* packed, float* step) {
  const char* row = reinterpret_cast<const char*>(q);
  const float absmax = FloatElements::absmax(row, dim);
  *step = 0.0F;
  if (!(absmax < kAttend16Largest)) return false;
  const auto limit = static_cast<float>(int16_limit(dim));
  const bool zero = absmax < kSmallestRow;
  const float inverse = zero ? 0.0F : limit / absmax;
  for (int64_t d = 0; d < dim; d += 8) {
    vst1q_s16(packed + d, to_int16(FloatElements::load(row, d), inverse));
  }
  if (zero) return true;
  *step = absmax / limit * factor;
  return *step<kAttend16Largest&& * step> - kAttend16Largest;  // a huge softmax scale
}

/// Four keys of a block, of which `count` are there: [dim/8][pair of keys][low, high][2][8].
template <typename Elements>
bool pack_key_quad(const PackRows& rows, int64_t first, int64_t count, int64_t dim, int8_t* packed,
                   float* step) {
  float inverse[4] = {};
  const char* row[4] = {};
  const auto limit = static_cast<float>(int16_limit(dim));
  for (int64_t j = 0; j < 4; ++j) {
    step[j] = 0.0F;
    row[j] = rows.row(j < count ? first + j : first);  // the first key again, times zero
    if (j >= count) continue;
    rows.prefetch(first + j, row_bytes(Elements::kType, dim));
    const float absmax = Elements::absmax(row[j], dim);
    if (!(absmax < kAttend16Largest)) return false;
    if (absmax < kSmallestRow) continue;
    step[j] = absmax / limit;
    inverse[j] = limit / absmax;
  }
  for (int64_t d = 0; d < dim; d += 8, packed += 64) {
    int16x8_t x[4];
    for (int j = 0; j < 4; ++j) x[j] = to_int16(Elements::load(row[j], d), inverse[j]);
    const SplitPair pairs[2] = {split_pair(x[0], x[1]), split_pair(x[2], x[3])};
    vst1q_s8(packed, pairs[0].low);
    vst1q_s8(packed + 16, pairs[0].high);
    vst1q_s8(packed + 32, pairs[1].low);
    vst1q_s8(packed + 48, pairs[1].high);
  }
  return true;
}

template <typename Elements>
bool pack_keys16(const PackRows& rows, int64_t dim, int32_t* packed, float* step) {
  auto* bytes = reinterpret_cast<int8_t*>(packed);
  int64_t first = 0;
  for (; first < rows.count; first += 4) {
    if (!pack_key_quad<Elements>(rows, first, rows.count - first, dim, bytes + first * dim * 2,
                                 step + first)) {
      return false;
    }
  }
  if (first == kAttendBlock) return true;
  const auto left = static_cast<size_t>(kAttendBlock - first);
  std::memset(bytes + first * dim * 2, 0, left * static_cast<size_t>(dim) * 2);
  std::memset(step + first, 0, left * sizeof(float));
  return true;
}

template <typename Elements>
uint16x8_t load_bf16(const char* row, int64_t d) {
  const ElementPair x = Elements::load_value(row, d);
  const bfloat16x8_t low = vcvtq_low_bf16_f32(x.low);
  return vreinterpretq_u16_bf16(vcvtq_high_bf16_f32(low, x.high));
}

/// [16][dim][4]: element d of four neighbouring keys.
template <typename Elements>
void pack_values16(const PackRows& rows, int64_t dim, int32_t* packed) {
  auto* out = reinterpret_cast<uint16_t*>(packed);
  int64_t first = 0;
  for (; first < rows.count; first += 4) {
    const char* row[4];
    const int64_t count = rows.count - first;
    for (int64_t j = 0; j < 4; ++j) {
      row[j] = rows.row(j < count ? first + j : first);
      if (j < count) rows.prefetch(first + j, row_bytes(Elements::kType, dim));
    }
    for (int64_t d = 0; d < dim; d += 8, out += 32) {
      uint16x8x4_t x;
      for (int j = 0; j < 4; ++j) {
        x.val[j] = j < count ? load_bf16<Elements>(row[j], d) : vdupq_n_u16(0);
      }
      vst4q_u16(out, x);
    }
  }
  const auto left = static_cast<size_t>((kAttendBlock - first) * dim);
  std::memset(out, 0, left * sizeof(uint16_t));
}

}  // namespace shadowattn
