#include "kernels/simd/avx2.h"
#include "kernels/project/project_impl.h"

namespace shadowattn {

void project_rows_avx2(const ProjectRows& work) { project_rows<simd::Avx2>(work); }

bool project_quantize_avx2(const float* x, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                           float* scale) {
  return project_quantize<simd::Avx2>(x, stride, rows, dim, q, scale);
}

}  // namespace shadowattn
