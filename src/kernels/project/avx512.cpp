#include "kernels/simd/avx512.h"
#include "kernels/project/project_impl.h"

namespace shadowattn {

void project_rows_avx512(const ProjectRows& work) { project_rows<simd::Avx512>(work); }

bool project_quantize_avx512(const float* x, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                             float* scale) {
  return project_quantize<simd::Avx512>(x, stride, rows, dim, q, scale);
}

}  // namespace shadowattn
