#include <immintrin.h>

#include "peaks/peak_loop.h"

namespace shadowattn::bench {

void peak_f32_avx2(int64_t steps) {
  peak_loop<kPeakChains>(steps, _mm256_setzero_ps(), _mm256_set1_ps(0.5F), _mm256_set1_ps(0.25F),
                         [](__m256 acc, __m256 a, __m256 b) { return _mm256_fmadd_ps(a, b, acc); });
}

void peak_int16_avx2(int64_t steps) {
  peak_loop<kPeakChains>(steps, _mm256_setzero_si256(), _mm256_set1_epi16(3), _mm256_set1_epi16(-5),
                         [](__m256i acc, __m256i a, __m256i b) {
                           return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
                         });
}

// Sums of two products saturate at 16 bits: a ceiling that an exact kernel may not reach.
void peak_int8_avx2(int64_t steps) {
  const __m256i ones = _mm256_set1_epi16(1);
  peak_loop<kPeakChains>(steps, _mm256_setzero_si256(), _mm256_set1_epi8(3), _mm256_set1_epi8(-5),
                         [ones](__m256i acc, __m256i a, __m256i b) {
                           return _mm256_add_epi32(
                               acc, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
                         });
}

}  // namespace shadowattn::bench
