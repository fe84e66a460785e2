#include "kernels/simd/avx2.h"
#include "kernels/keep/keep_impl.h"

namespace shadowattn {

double keep_pages_avx2(const KeepPages& work) { return keep_pages<simd::Avx2>(work); }

void keep_values_avx2(const RowSource& source, int64_t first, int64_t pages, int64_t end,
                      int64_t dim, float* mean, float* weight) {
  keep_values<simd::Avx2>(source, first, pages, end, dim, mean, weight);
}

}  // namespace shadowattn
