// A step's shares stay in registers for all rows, and its ranks are written once.
#include <immintrin.h>

#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/score_rank/score_rank.h"
#include "kernels/simd/unroll.h"

namespace shadowattn {
namespace {

constexpr int64_t kAhead = 256;  // keys
constexpr int kVecs = static_cast<int>(kScoreRankKeys / 16);

template <bool kClamp>
inline __m512 share_of(const int8_t* scores, __m512 slope, __m512 offset) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(scores));
  const __m512 score = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
  __m512 bits = _mm512_fmadd_ps(score, slope, offset);
  if (kClamp) {
    bits = _mm512_min_ps(_mm512_max_ps(bits, _mm512_setzero_ps()), _mm512_set1_ps(kRankCap));
  }
  return _mm512_castsi512_ps(_mm512_cvttps_epi32(bits));
}

/// kStep vectors of sixteen keys from `key` on.
template <int kStep, bool kClamp>
void rank_keys(const ScoreRank& list, int64_t key) {
  __m512 share[kStep];
  unrolled<kStep>([&](auto v) __attribute__((always_inline)) { share[v] = _mm512_setzero_ps(); });
  const int8_t* scores = list.scores + key;
  for (int64_t r = 0; r < list.rows; ++r, scores += list.stride) {
    const __m512 slope = _mm512_set1_ps(list.slope[r]);
    const __m512 offset = _mm512_set1_ps(list.offset[r]);
    // Rows are too far apart for the processor to see what comes next.
    _mm_prefetch(reinterpret_cast<const char*>(scores + kAhead), _MM_HINT_T1);
    _mm_prefetch(reinterpret_cast<const char*>(scores + kAhead + 64), _MM_HINT_T1);
    unrolled<kStep>([&](auto v) __attribute__((always_inline)) {
      share[v] = _mm512_add_ps(share[v], share_of<kClamp>(scores + v * 16, slope, offset));
    });
  }
  unrolled<kStep>([&](auto v) __attribute__((always_inline)) {
    const __m512i upper = _mm512_srli_epi32(_mm512_castps_si512(share[v]), 16);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(list.rank + key + v * 16),
                        _mm512_cvtepi32_epi16(upper));
  });
}

template <bool kClamp>
void rank_list(const ScoreRank& list) {
  int64_t key = 0;
  for (; key + 2 * kScoreRankKeys <= list.keys; key += 2 * kScoreRankKeys) {
    rank_keys<2 * kVecs, kClamp>(list, key);
  }
  if (key < list.keys) rank_keys<kVecs, kClamp>(list, key);
}

}  // namespace

void score_rank_ranks_avx512(const ScoreRank& list) {
  list.in_range ? rank_list<false>(list) : rank_list<true>(list);
}

void score_rank_widen_avx512(const int8_t* scores, int64_t keys, int16_t* out) {
  int64_t j = 0;
  for (; j + 32 <= keys; j += 32) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(scores + j));
    _mm512_storeu_si512(out + j, _mm512_slli_epi16(_mm512_cvtepi8_epi16(bytes), 8));
  }
  for (; j < keys; ++j) out[j] = static_cast<int16_t>(scores[j] * 256);
}

}  // namespace shadowattn
