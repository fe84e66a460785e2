#include "kernels/simd/neon.h"
#include "kernels/keep/keep_impl.h"

namespace shadowattn {

double keep_pages_neon(const KeepPages& work) { return keep_pages<simd::Neon>(work); }

void keep_values_neon(const RowSource& source, int64_t first, int64_t pages, int64_t end,
                      int64_t dim, float* mean, float* weight) {
  keep_values<simd::Neon>(source, first, pages, end, dim, mean, weight);
}

}  // namespace shadowattn
