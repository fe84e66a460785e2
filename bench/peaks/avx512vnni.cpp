#include <immintrin.h>

#include "peaks/peak_loop.h"

namespace shadowattn::bench {

void peak_int8_avx512vnni(int64_t steps) {
  peak_loop<kPeakChains>(
      steps, _mm512_setzero_si512(), _mm512_set1_epi8(3), _mm512_set1_epi8(-5),
      [](__m512i acc, __m512i a, __m512i b) { return _mm512_dpbusd_epi32(acc, a, b); });
}

void peak_int16_avx512vnni(int64_t steps) {
  peak_loop<kPeakChains>(
      steps, _mm512_setzero_si512(), _mm512_set1_epi16(3), _mm512_set1_epi16(-5),
      [](__m512i acc, __m512i a, __m512i b) { return _mm512_dpwssd_epi32(acc, a, b); });
}

}  // namespace shadowattn::bench
