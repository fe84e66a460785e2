#include "kernels/simd/avx512.h"
#include "kernels/quantize/quantize_impl.h"

namespace shadowattn {

bool quantize_f32_avx512(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                         float* scale) {
  return quantize_rows<simd::Avx512, ElementType::kF32>(src, stride, rows, dim, q, scale);
}

bool quantize_f16_avx512(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                         float* scale) {
  return quantize_rows<simd::Avx512, ElementType::kF16>(src, stride, rows, dim, q, scale);
}

bool quantize_q8_0_avx512(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                          float* scale) {
  return quantize_rows<simd::Avx512, ElementType::kQ8_0>(src, stride, rows, dim, q, scale);
}

}  // namespace shadowattn
