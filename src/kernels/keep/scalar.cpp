#include "kernels/keep/keep_impl.h"
#include "kernels/simd/generic.h"

namespace shadowattn {

double keep_pages_scalar(const KeepPages& work) { return keep_pages<simd::Generic>(work); }

void keep_values_scalar(const RowSource& source, int64_t first, int64_t pages, int64_t end,
                        int64_t dim, float* mean, float* weight) {
  keep_values<simd::Generic>(source, first, pages, end, dim, mean, weight);
}

}  // namespace shadowattn
