#include <immintrin.h>

#include "peaks/peak_loop.h"

namespace shadowattn::bench {

void peak_f32_avx512(int64_t steps) {
  peak_loop<kPeakChains512>(
      steps, _mm512_setzero_ps(), _mm512_set1_ps(0.5F), _mm512_set1_ps(0.25F),
      [](__m512 acc, __m512 a, __m512 b) { return _mm512_fmadd_ps(a, b, acc); });
}

}  // namespace shadowattn::bench
