#include "kernels/project/project_impl.h"
#include "kernels/simd/generic.h"

namespace shadowattn {

void project_rows_scalar(const ProjectRows& work) { project_rows<simd::Generic>(work); }

bool project_quantize_scalar(const float* x, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                             float* scale) {
  return project_quantize<simd::Generic>(x, stride, rows, dim, q, scale);
}

}  // namespace shadowattn
