#include "kernels/quantize/quantize_impl.h"
#include "kernels/simd/generic.h"

namespace shadowattn {

bool quantize_f32_scalar(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                         float* scale) {
  return quantize_rows<simd::Generic, ElementType::kF32>(src, stride, rows, dim, q, scale);
}

bool quantize_f16_scalar(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                         float* scale) {
  return quantize_rows<simd::Generic, ElementType::kF16>(src, stride, rows, dim, q, scale);
}

bool quantize_q8_0_scalar(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                          float* scale) {
  return quantize_rows<simd::Generic, ElementType::kQ8_0>(src, stride, rows, dim, q, scale);
}

}  // namespace shadowattn
