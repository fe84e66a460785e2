// A step's shares stay in registers for all rows, and its ranks are written once.
#include <immintrin.h>

#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/score_rank/score_rank.h"
#include "kernels/simd/unroll.h"

namespace shadowattn {
namespace {

constexpr int kVecs = static_cast<int>(kScoreRankKeys / 8);

template <bool kClamp>
inline __m256 share_of(const int8_t* scores, __m256 slope, __m256 offset) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(scores));
  const __m256 score = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  __m256 bits = _mm256_fmadd_ps(score, slope, offset);
  if (kClamp) {
    bits = _mm256_min_ps(_mm256_max_ps(bits, _mm256_setzero_ps()), _mm256_set1_ps(kRankCap));
  }
  return _mm256_castsi256_ps(_mm256_cvttps_epi32(bits));
}

/// Sixteen ranks from two vectors of shares.
inline void store_ranks(__m256 low, __m256 high, int16_t* out) {
  const __m256i words = _mm256_packus_epi32(_mm256_srli_epi32(_mm256_castps_si256(low), 16),
                                            _mm256_srli_epi32(_mm256_castps_si256(high), 16));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute4x64_epi64(words, 0xD8));
}

template <bool kClamp>
void rank_list(const ScoreRank& list) {
  for (int64_t key = 0; key < list.keys; key += kScoreRankKeys) {
    __m256 share[kVecs];
    unrolled<kVecs>([&](auto v) __attribute__((always_inline)) { share[v] = _mm256_setzero_ps(); });
    const int8_t* scores = list.scores + key;
    for (int64_t r = 0; r < list.rows; ++r, scores += list.stride) {
      const __m256 slope = _mm256_set1_ps(list.slope[r]);
      const __m256 offset = _mm256_set1_ps(list.offset[r]);
      unrolled<kVecs>([&](auto v) __attribute__((always_inline)) {
        share[v] = _mm256_add_ps(share[v], share_of<kClamp>(scores + v * 8, slope, offset));
      });
    }
    unrolled<kVecs / 2>([&](auto v) __attribute__((always_inline)) {
      store_ranks(share[2 * v], share[2 * v + 1], list.rank + key + v * 16);
    });
  }
}

}  // namespace

void score_rank_ranks_avx2(const ScoreRank& list) {
  list.in_range ? rank_list<false>(list) : rank_list<true>(list);
}

void score_rank_widen_avx2(const int8_t* scores, int64_t keys, int16_t* out) {
  int64_t j = 0;
  for (; j + 16 <= keys; j += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(scores + j));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + j),
                        _mm256_slli_epi16(_mm256_cvtepi8_epi16(bytes), 8));
  }
  for (; j < keys; ++j) out[j] = static_cast<int16_t>(scores[j] * 256);
}

}  // namespace shadowattn
