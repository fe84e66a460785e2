#include <immintrin.h>

#include "peaks/peak_loop.h"

namespace shadowattn::bench {

void peak_bf16_avx512bf16(int64_t steps) {
  // bf16 is the upper half of an f32: 0.5 and 0.25 in both halves of each lane.
  peak_loop<kPeakChains512>(steps, _mm512_setzero_ps(), _mm512_set1_epi32(0x3F003F00),
                            _mm512_set1_epi32(0x3E803E80), [](__m512 acc, __m512i a, __m512i b) {
                              return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(a),
                                                      reinterpret_cast<__m512bh>(b));
                            });
}

}  // namespace shadowattn::bench
