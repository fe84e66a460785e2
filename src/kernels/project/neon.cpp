#include "kernels/simd/neon.h"
#include "kernels/project/project_impl.h"

namespace shadowattn {

void project_rows_neon(const ProjectRows& work) { project_rows<simd::Neon>(work); }

bool project_quantize_neon(const float* x, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                           float* scale) {
  return project_quantize<simd::Neon>(x, stride, rows, dim, q, scale);
}

}  // namespace shadowattn
