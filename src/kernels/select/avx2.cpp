// Sixteen scores per vector; arrays are padded to 32, so there is no tail.
#include <immintrin.h>

#include "kernels/select/top_k_impl.h"

namespace shadowattn {
namespace {

inline __m256i load(const int16_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

inline int64_t sum_words(__m256i words) {
  // Lanes hold counts up to 2^15: madd widens pairs to 32 bits.
  __m256i pairs = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1));
  return _mm_cvtsi128_si32(sum);
}

struct Avx2Ops {
  static int16_t row_max(const int16_t* p, int64_t n) {
    __m256i a = _mm256_set1_epi16(kHiddenScore);
    __m256i b = a;
    for (int64_t j = 0; j < n; j += 32) {
      a = _mm256_max_epi16(a, load(p + j));
      b = _mm256_max_epi16(b, load(p + j + 16));
    }
    a = _mm256_max_epi16(a, b);
    // phminposuw finds an unsigned minimum: flip to turn the signed maximum into one.
    const __m128i half = _mm_max_epi16(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    const __m128i flipped = _mm_xor_si128(half, _mm_set1_epi16(0x7FFF));
    const int word = _mm_extract_epi16(_mm_minpos_epu16(flipped), 0);
    return static_cast<int16_t>(word ^ 0x7FFF);
  }

  static int64_t count_at_least(const int16_t* p, int64_t n, int16_t threshold) {
    // x ≥ t as x > t - 1; thresholds start at kHiddenScore + 1, so t - 1 does not wrap.
    const __m256i below = _mm256_set1_epi16(static_cast<int16_t>(threshold - 1));
    constexpr int64_t kChunk = 32LL * 16384;  // 16-bit counters hold twice 16384
    int64_t total = 0;
    for (int64_t first = 0; first < n; first += kChunk) {
      const int64_t end = n - first < kChunk ? n : first + kChunk;
      __m256i a = _mm256_setzero_si256();
      __m256i b = a;
      for (int64_t j = first; j < end; j += 32) {
        a = _mm256_sub_epi16(a, _mm256_cmpgt_epi16(load(p + j), below));
        b = _mm256_sub_epi16(b, _mm256_cmpgt_epi16(load(p + j + 16), below));
      }
      total += sum_words(a) + sum_words(b);
    }
    return total;
  }

  static int64_t collect(const int16_t* p, int64_t n, int16_t threshold, int64_t ties,
                         int32_t* out) {
    const __m256i limit = _mm256_set1_epi16(threshold);
    const __m256i below = _mm256_set1_epi16(static_cast<int16_t>(threshold - 1));
    int32_t* next = out;
    for (int64_t j = 0; j < n; j += 16) {
      const __m256i v = load(p + j);
      // Two mask bits per lane; one is enough.
      uint32_t wanted =
          static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpgt_epi16(v, below))) & 0x55555555U;
      if (wanted == 0) continue;
      uint32_t equal =
          static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi16(v, limit))) & 0x55555555U;
      while (equal != 0) {  // rare: one pass per tie
        const uint32_t lowest = equal & (0U - equal);
        if (ties-- <= 0) wanted &= ~lowest;
        equal &= equal - 1;
      }
      for (; wanted != 0; wanted &= wanted - 1) {
        *next++ = static_cast<int32_t>(j) + (__builtin_ctz(wanted) >> 1);
      }
    }
    return next - out;
  }
};

}  // namespace

int16_t select_row_max_avx2(const int16_t* scores, int64_t n) {
  return Avx2Ops::row_max(scores, n);
}

int64_t select_exp_sum_avx2(const int16_t* scores, int16_t row_max, int64_t n, float c) {
  const __m256i maximum = _mm256_set1_epi32(row_max);
  const __m256i hidden = _mm256_set1_epi32(kHiddenScore);
  const __m256 per_unit = _mm256_set1_ps(c);
  const __m256 bias = _mm256_set1_ps(127.0F);
  const __m256 one = _mm256_set1_ps(static_cast<float>(kExpSumOne));
  constexpr int64_t kChunk = 8LL * 16384;  // a lane holds 32767 times kExpSumOne
  int64_t total = 0;
  for (int64_t first = 0; first < n; first += kChunk) {
    const int64_t end = n - first < kChunk ? n : first + kChunk;
    __m256i sum = _mm256_setzero_si256();
    for (int64_t j = first; j < end; j += 8) {
      const __m256i s =
          _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scores + j)));
      const __m256 x = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(s, maximum)), per_unit);
      const __m256 biased = _mm256_mul_ps(
          _mm256_max_ps(_mm256_add_ps(x, bias), _mm256_setzero_ps()), _mm256_set1_ps(0x1p23F));
      const __m256 power = _mm256_castsi256_ps(_mm256_cvttps_epi32(biased));
      const __m256i term = _mm256_cvtps_epi32(_mm256_mul_ps(power, one));
      sum = _mm256_add_epi32(sum, _mm256_andnot_si256(_mm256_cmpeq_epi32(s, hidden), term));
    }
    const __m256i wide = _mm256_add_epi64(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(sum)),
                                          _mm256_cvtepi32_epi64(_mm256_extracti128_si256(sum, 1)));
    const __m128i pair =
        _mm_add_epi64(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    total += _mm_cvtsi128_si64(pair) + _mm_extract_epi64(pair, 1);
  }
  return total;
}

void select_merge_avx2(const int16_t* scores, int16_t level, int64_t n, int16_t* importance) {
  const __m256i hidden = _mm256_set1_epi16(kHiddenScore);
  const __m256i floor = _mm256_set1_epi16(kHiddenScore + 1);
  const __m256i maximum = _mm256_set1_epi16(level);
  for (int64_t j = 0; j < n; j += 16) {
    const __m256i v = load(scores + j);
    const __m256i relative = _mm256_max_epi16(_mm256_subs_epi16(v, maximum), floor);
    const __m256i kept = _mm256_blendv_epi8(relative, hidden, _mm256_cmpeq_epi16(v, hidden));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(importance + j),
                        _mm256_max_epi16(load(importance + j), kept));
  }
}

int64_t select_top_k_avx2(const int16_t* importance, int64_t n, int64_t k, int32_t* out) {
  return top_k<Avx2Ops>(importance, n, k, out);
}

}  // namespace shadowattn
