// The AVX-VNNI kernel with its one instruction emulated in AVX2, so that all the rest of it is
// tested on machines without it.
#include "vnni256_emulated.h"

#if defined(__x86_64__)

#include "kernels/pilot_dot/vnni256_dots.h"

namespace shadowattn::test {
namespace {

struct Emulated {
  /// Products in 16 bits are exact (255 · 128 < 2^15); a pair of them is added in 32.
  static __m256i dot(__m256i sum, __m256i keys, __m256i queries) {
    const __m256i low = _mm256_set1_epi16(0xFF);
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256i even = _mm256_mullo_epi16(_mm256_and_si256(keys, low),
                                            _mm256_srai_epi16(_mm256_slli_epi16(queries, 8), 8));
    const __m256i odd =
        _mm256_mullo_epi16(_mm256_srli_epi16(keys, 8), _mm256_srai_epi16(queries, 8));
    const __m256i pairs =
        _mm256_add_epi32(_mm256_madd_epi16(even, ones), _mm256_madd_epi16(odd, ones));
    return _mm256_add_epi32(sum, pairs);
  }
};
using Dots = Vnni256Dots<Emulated>;

}  // namespace

PilotDotKernel emulated_avxvnni() {
  return {"avxvnni_emulated",
          kAvx2Level,
          &Dots::block_bytes,
          &Dots::row_bytes,
          &Dots::pack_keys,
          &Dots::pack_queries,
          &Dots::pack_queries,
          &avx2_tile::scores<Dots>,
          &avx2_tile::fixed_scores<Dots>,
          &avx2_tile::ranks<Dots>,
          &avx2_tile::all_shares<Dots>};
}

}  // namespace shadowattn::test

#endif
