#include "kernels/quantize/quantize_impl.h"
#include "kernels/simd/generic.h"

namespace shadowattn {

bool quantize_f32_scalar(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                         float* scale) {
  return quantize_rows<simd::Generic, float>(src, stride, rows, dim, q, scale);
}

bool quantize_f16_scalar(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                         float* scale) {
  return quantize_rows<simd::Generic, uint16_t>(src, stride, rows, dim, q, scale);
}

}  // namespace shadowattn
