#include "kernels/simd/avx2.h"
#include "kernels/quantize/quantize_impl.h"

namespace shadowattn {

bool quantize_f32_avx2(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                       float* scale) {
  return quantize_rows<simd::Avx2, ElementType::kF32>(src, stride, rows, dim, q, scale);
}

bool quantize_f16_avx2(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                       float* scale) {
  return quantize_rows<simd::Avx2, ElementType::kF16>(src, stride, rows, dim, q, scale);
}

bool quantize_q8_0_avx2(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                        float* scale) {
  return quantize_rows<simd::Avx2, ElementType::kQ8_0>(src, stride, rows, dim, q, scale);
}

}  // namespace shadowattn
