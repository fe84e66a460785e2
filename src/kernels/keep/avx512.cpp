#include "kernels/simd/avx512.h"
#include "kernels/keep/keep_impl.h"

namespace shadowattn {

double keep_pages_avx512(const KeepPages& work) { return keep_pages<simd::Avx512>(work); }

void keep_values_avx512(const RowSource& source, int64_t first, int64_t pages, int64_t end,
                        int64_t dim, float* mean, float* weight) {
  keep_values<simd::Avx512>(source, first, pages, end, dim, mean, weight);
}

}  // namespace shadowattn
