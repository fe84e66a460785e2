// Operands of the AVX-512 attend16 kernels: rows of f32, f16 or q8_0 to INT16 or BF16, and the
// layouts of avx512bf16.cpp.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/attend16/attend16.h"
#include "kernels/attend16/pack_rows.h"
#include "kernels/simd/load_row.h"

namespace shadowattn {

/// The bits of |v|: as integers they are ordered like the magnitudes, NaN above all.
inline __m512i magnitude_bits(__m512 v) {
  return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7FFFFFFF));
}

/// 32 neighbouring elements; the upper half is zero beyond the end of a row.
struct ElementPair {
  __m512 low;
  __m512 high;
};

struct FloatElements {
  static constexpr ElementType kType = ElementType::kF32;
  static __m512 load(const char* row, int64_t d) {
    return _mm512_loadu_ps(reinterpret_cast<const float*>(row) + d);
  }
  static ElementPair load_pair(const char* row, int64_t d, bool half) {
    return {load(row, d), half ? _mm512_setzero_ps() : load(row, d + 16)};
  }
  static float absmax(const char* row, int64_t dim) {
    __m512i largest = _mm512_setzero_si512();
    for (int64_t d = 0; d < dim; d += 16) {
      largest = _mm512_max_epi32(largest, magnitude_bits(load(row, d)));
    }
    const int bits = _mm512_reduce_max_epi32(largest);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
};

struct HalfElements {
  static constexpr ElementType kType = ElementType::kF16;
  static __m512 load(const char* row, int64_t d) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + d * 2)));
  }
  static ElementPair load_pair(const char* row, int64_t d, bool half) {
    return {load(row, d), half ? _mm512_setzero_ps() : load(row, d + 16)};
  }
  static float absmax(const char* row, int64_t dim) {
    const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
    __m512i largest = _mm512_setzero_si512();
    for (int64_t d = 0; d + 32 <= dim; d += 32) {
      const __m512i x = _mm512_loadu_si512(row + d * 2);
      largest = _mm512_max_epu16(largest, _mm512_and_si512(x, magnitude));
    }
    __m256i half =
        _mm256_max_epu16(_mm512_castsi512_si256(largest), _mm512_extracti64x4_epi64(largest, 1));
    if (dim % 32 != 0) {
      const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + (dim - 16) * 2));
      half = _mm256_max_epu16(half, _mm256_and_si256(x, _mm512_castsi512_si256(magnitude)));
    }
    const __m128i eight =
        _mm_max_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    const __m128i smallest = _mm_minpos_epu16(_mm_xor_si128(eight, _mm_set1_epi16(-1)));
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_xor_si128(smallest, _mm_set1_epi16(-1))));
  }
};

struct Q8Elements {
  static constexpr ElementType kType = ElementType::kQ8_0;

  /// A whole block: rows have no halves.
  static ElementPair load_pair(const char* row, int64_t d, bool /*half*/) {
    const char* block = row + d / kQ8BlockElements * kQ8BlockBytes;
    const __m512 factor = scale(block);
    return {_mm512_mul_ps(factor, quants(block, 0)), _mm512_mul_ps(factor, quants(block, 16))};
  }
  /// The largest |d| · |q|; infinite or NaN when a scale is.
  static float absmax(const char* row, int64_t dim) {
    __m512i largest = _mm512_setzero_si512();
    for (int64_t d = 0; d < dim; d += kQ8BlockElements) {
      const ElementPair x = load_pair(row, d, false);
      largest = _mm512_max_epi32(largest, magnitude_bits(x.low));
      largest = _mm512_max_epi32(largest, magnitude_bits(x.high));
    }
    const int bits = _mm512_reduce_max_epi32(largest);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }

 private:
  static __m512 scale(const char* block) {
    uint16_t half;
    std::memcpy(&half, block, sizeof half);
    return _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(half)));
  }
  static __m512 quants(const char* block, int64_t first) {
    const auto* q = reinterpret_cast<const __m128i*>(block + sizeof(uint16_t) + first);
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(q)));
  }
};

/// rows[i] lane j  ->  rows[j] lane i.
inline void transpose_words(__m512i (&rows)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    rows[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    rows[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    rows[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    rows[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {  // now 4 × 4 blocks of 128 bits
    const __m512i low = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0x88);
    const __m512i low_odd = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0xDD);
    const __m512i high = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0x88);
    const __m512i high_odd = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0xDD);
    t[i] = _mm512_shuffle_i32x4(low, high, 0x88);
    t[i + 8] = _mm512_shuffle_i32x4(low, high, 0xDD);
    t[i + 4] = _mm512_shuffle_i32x4(low_odd, high_odd, 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(low_odd, high_odd, 0xDD);
  }
  for (int i = 0; i < 16; ++i) rows[i] = t[i];
}

inline bool pack_query16(const float* q, int64_t dim, float factor, int16_t* packed, float* step) {
  const float absmax = FloatElements::absmax(reinterpret_cast<const char*>(q), dim);
  *step = 0.0F;
  if (!(absmax < kAttend16Largest)) return false;
  const auto limit = static_cast<float>(int16_limit(dim));
  const bool zero = absmax < kSmallestRow;
  const __m512 inverse = _mm512_set1_ps(zero ? 0.0F : limit / absmax);
  for (int64_t d = 0; d < dim; d += 16) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(q + d), inverse);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(packed + d),
                        _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(scaled)));
  }
  if (zero) return true;
  *step = absmax / limit * factor;
  return *step<kAttend16Largest&& * step> - kAttend16Largest;  // a huge softmax scale
}

/// 32 elements of each of 16 keys, scaled, as 16 vectors of INT16 pairs. `count` keys are there.
template <typename Elements>
void load_pairs(const PackRows& rows, int64_t first, int64_t count, int64_t d, int64_t dim,
                const float* inverse, __m512i (&words)[16]) {
  const bool half = d + 16 >= dim;
  for (int64_t j = 0; j < 16; ++j) {
    if (j >= count) {
      words[j] = _mm512_setzero_si512();
      continue;
    }
    const char* row = rows.row(first + j);
    if (d == 0) rows.prefetch(first + j, row_bytes(Elements::kType, dim));
    const __m512 scale = _mm512_set1_ps(inverse[j]);
    const ElementPair x = Elements::load_pair(row, d, half);
    words[j] = _mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x.low, scale)),
                                  _mm512_cvtps_epi32(_mm512_mul_ps(x.high, scale)));
  }
}

/// Up to 16 keys of a block, zero keys beyond `count`. False when one is not finite or too large.
template <typename Elements, int64_t kDim>
bool pack_key_group(const PackRows& rows, int64_t first, int64_t count, int64_t any_dim,
                    int32_t* packed, float* step) {
  const int64_t dim = kDim != 0 ? kDim : any_dim;
  alignas(64) float absmax[16] = {};
  alignas(64) float inverse[16];
  bool usable = true;
  for (int64_t j = 0; j < count; ++j) {
    absmax[j] = Elements::absmax(rows.row(first + j), dim);
    usable = usable && absmax[j] < kAttend16Largest;
  }
  if (!usable) return false;
  const __m512 limit = _mm512_set1_ps(static_cast<float>(int16_limit(dim)));
  const __m512 largest = _mm512_load_ps(absmax);
  const __mmask16 nonzero = _mm512_cmp_ps_mask(largest, _mm512_set1_ps(kSmallestRow), _CMP_GE_OQ);
  _mm512_storeu_ps(step, _mm512_maskz_div_ps(nonzero, largest, limit));
  _mm512_store_ps(inverse, _mm512_maskz_div_ps(nonzero, limit, largest));

  for (int64_t d = 0; d < dim; d += 32) {
    const bool half = d + 16 >= dim;
    __m512i words[16];
    load_pairs<Elements>(rows, first, count, d, dim, inverse, words);
    transpose_words(words);
    // packs worked within 128 bits: two pairs of the first 16 elements, two of the second.
    int32_t* out = packed + d / 2 * kAttendBlock;
    for (int64_t w = 0; w < 16; ++w) {
      const int64_t lane = w / 4;
      const int64_t slot = w % 4;
      if (slot >= 2 && half) continue;
      const int64_t pair = slot < 2 ? 2 * lane + slot : 8 + 2 * lane + slot - 2;
      _mm512_storeu_si512(out + pair * kAttendBlock, words[w]);
    }
  }
  return true;
}

template <typename Elements, int64_t kDim>
bool pack_key_groups(const PackRows& rows, int64_t dim, int32_t* packed, float* step) {
  for (int64_t first = 0; first < kAttendBlock; first += 16) {
    const int64_t left = rows.count - first;
    const int64_t count = left < 0 ? 0 : (left < 16 ? left : 16);
    if (!pack_key_group<Elements, kDim>(rows, first, count, dim, packed + first, step + first)) {
      return false;
    }
  }
  return true;
}

/// The usual head dims are constants: every load of a row is an instruction of its own with a
/// constant stride, which the hardware's prefetcher likes.
template <typename Elements>
bool pack_keys16(const PackRows& rows, int64_t dim, int32_t* packed, float* step) {
  if (dim == 64) return pack_key_groups<Elements, 64>(rows, dim, packed, step);
  if (dim == 128) return pack_key_groups<Elements, 128>(rows, dim, packed, step);
  return pack_key_groups<Elements, 0>(rows, dim, packed, step);
}

/// Elements d … d+15 of two rows as 16 words of (first row, second row).
inline __m512i pair_words(__m512 a, __m512 b) {
  const __m512i interleave =
      _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                       21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(interleave, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a)));
}

template <typename Elements>
void pack_values16(const PackRows& rows, int64_t dim, int32_t* packed) {
  const int64_t bytes = row_bytes(Elements::kType, dim);
  int64_t j = 0;
  for (; j < rows.count; j += 2, packed += dim) {
    const char* a = rows.row(j);
    const bool pair = j + 1 < rows.count;
    const char* b = pair ? rows.row(j + 1) : a;
    rows.prefetch(j, bytes);
    rows.prefetch(j + 1, bytes);
    for (int64_t d = 0; d < dim; d += 32) {
      const bool half = d + 16 >= dim;
      const ElementPair x = Elements::load_pair(a, d, half);
      ElementPair y = Elements::load_pair(b, d, half);
      if (!pair) y = {_mm512_setzero_ps(), _mm512_setzero_ps()};
      _mm512_storeu_si512(packed + d, pair_words(x.low, y.low));
      if (!half) _mm512_storeu_si512(packed + d + 16, pair_words(x.high, y.high));
    }
  }
  for (; j < kAttendBlock; j += 2, packed += dim) {
    std::memset(packed, 0, static_cast<size_t>(dim) * sizeof(int32_t));
  }
}

}  // namespace shadowattn
