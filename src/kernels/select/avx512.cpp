// Thirty-two scores per vector, comparisons straight into masks; arrays are padded to 32.
#include <immintrin.h>

#include "kernels/select/top_k_impl.h"

namespace shadowattn {
namespace {

inline __m512i load(const int16_t* p) { return _mm512_loadu_si512(p); }

struct Avx512Ops {
  static int16_t row_max(const int16_t* p, int64_t n) {
    __m512i a = _mm512_set1_epi16(kHiddenScore);
    for (int64_t j = 0; j < n; j += 32) a = _mm512_max_epi16(a, load(p + j));
    const __m256i half =
        _mm256_max_epi16(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
    const __m128i quarter =
        _mm_max_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    const __m128i flipped = _mm_xor_si128(quarter, _mm_set1_epi16(0x7FFF));
    const int word = _mm_extract_epi16(_mm_minpos_epu16(flipped), 0);
    return static_cast<int16_t>(word ^ 0x7FFF);
  }

  /// Counted in 16-bit lanes: a mask that goes to a general register for every vector costs more
  /// than the comparison.
  static int64_t count_at_least(const int16_t* p, int64_t n, int16_t threshold) {
    const __m512i limit = _mm512_set1_epi16(threshold);
    const __m512i one = _mm512_set1_epi16(1);
    constexpr int64_t kChunk = 32LL * 2 * 16384;  // a lane holds 32767
    int64_t count = 0;
    for (int64_t first = 0; first < n; first += kChunk) {
      const int64_t end = n - first < kChunk ? n : first + kChunk;
      __m512i even = _mm512_setzero_si512();
      __m512i odd = _mm512_setzero_si512();
      int64_t j = first;
      for (; j + 64 <= end; j += 64) {
        even = _mm512_mask_add_epi16(even, _mm512_cmpge_epi16_mask(load(p + j), limit), even, one);
        odd =
            _mm512_mask_add_epi16(odd, _mm512_cmpge_epi16_mask(load(p + j + 32), limit), odd, one);
      }
      if (j < end) {
        even = _mm512_mask_add_epi16(even, _mm512_cmpge_epi16_mask(load(p + j), limit), even, one);
      }
      if (j + 32 < end) {
        odd =
            _mm512_mask_add_epi16(odd, _mm512_cmpge_epi16_mask(load(p + j + 32), limit), odd, one);
      }
      count += _mm512_reduce_add_epi32(
          _mm512_add_epi32(_mm512_madd_epi16(even, one), _mm512_madd_epi16(odd, one)));
    }
    return count;
  }

  static int64_t collect(const int16_t* p, int64_t n, int16_t threshold, int64_t ties,
                         int32_t* out) {
    const __m512i limit = _mm512_set1_epi16(threshold);
    int32_t* next = out;
    for (int64_t j = 0; j < n; j += 32) {
      const __m512i v = load(p + j);
      uint32_t wanted = _mm512_cmpge_epi16_mask(v, limit);
      if (wanted == 0) continue;
      uint32_t equal = _mm512_cmpeq_epi16_mask(v, limit);
      while (equal != 0) {  // rare: one pass per tie
        const uint32_t lowest = equal & (0U - equal);
        if (ties-- <= 0) wanted &= ~lowest;
        equal &= equal - 1;
      }
      for (; wanted != 0; wanted &= wanted - 1) {
        *next++ = static_cast<int32_t>(j) + __builtin_ctz(wanted);
      }
    }
    return next - out;
  }
};

}  // namespace

int16_t select_row_max_avx512(const int16_t* scores, int64_t n) {
  return Avx512Ops::row_max(scores, n);
}

int64_t select_exp_sum_avx512(const int16_t* scores, int16_t row_max, int64_t n, float c) {
  const __m512i maximum = _mm512_set1_epi32(row_max);
  const __m512i hidden = _mm512_set1_epi32(kHiddenScore);
  const __m512 per_unit = _mm512_set1_ps(c);
  const __m512 bias = _mm512_set1_ps(127.0F);
  const __m512 one = _mm512_set1_ps(static_cast<float>(kExpSumOne));
  constexpr int64_t kChunk = 16LL * 16384;  // a lane holds 32767 times kExpSumOne
  int64_t total = 0;
  for (int64_t first = 0; first < n; first += kChunk) {
    const int64_t end = n - first < kChunk ? n : first + kChunk;
    __m512i sum = _mm512_setzero_si512();
    for (int64_t j = first; j < end; j += 16) {
      const __m512i s =
          _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(scores + j)));
      const __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(s, maximum)), per_unit);
      const __m512 biased = _mm512_mul_ps(
          _mm512_max_ps(_mm512_add_ps(x, bias), _mm512_setzero_ps()), _mm512_set1_ps(0x1p23F));
      const __m512 power = _mm512_castsi512_ps(_mm512_cvttps_epi32(biased));
      const __m512i term = _mm512_cvtps_epi32(_mm512_mul_ps(power, one));
      sum = _mm512_mask_add_epi32(sum, _mm512_cmpneq_epi32_mask(s, hidden), sum, term);
    }
    total += _mm512_reduce_add_epi64(
        _mm512_add_epi64(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(sum)),
                         _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(sum, 1))));
  }
  return total;
}

void select_merge_avx512(const int16_t* scores, int16_t level, int64_t n, int16_t* importance) {
  const __m512i hidden = _mm512_set1_epi16(kHiddenScore);
  const __m512i floor = _mm512_set1_epi16(kHiddenScore + 1);
  const __m512i maximum = _mm512_set1_epi16(level);
  for (int64_t j = 0; j < n; j += 32) {
    const __m512i v = load(scores + j);
    const __m512i relative = _mm512_max_epi16(_mm512_subs_epi16(v, maximum), floor);
    const __m512i kept =
        _mm512_mask_blend_epi16(_mm512_cmpeq_epi16_mask(v, hidden), relative, hidden);
    _mm512_storeu_si512(importance + j, _mm512_max_epi16(load(importance + j), kept));
  }
}

int64_t select_top_k_avx512(const int16_t* importance, int64_t n, int64_t k, int32_t* out) {
  return top_k<Avx512Ops>(importance, n, k, out);
}

}  // namespace shadowattn
