#include "kernels/simd/avx512.h"
#include "kernels/quantize/quantize_impl.h"

namespace shadowattn {

bool quantize_f32_avx512(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                         float* scale) {
  return quantize_rows<simd::Avx512, float>(src, stride, rows, dim, q, scale);
}

bool quantize_f16_avx512(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                         float* scale) {
  return quantize_rows<simd::Avx512, uint16_t>(src, stride, rows, dim, q, scale);
}

}  // namespace shadowattn
