#include "kernels/simd/avx512.h"
#include "kernels/quantize/quantize_impl.h"

namespace shadowattn {

template struct QuantizeCode<simd::Avx512, ElementType::kF32>;
template struct QuantizeCode<simd::Avx512, ElementType::kF16>;
template struct QuantizeCode<simd::Avx512, ElementType::kQ8_0>;

}  // namespace shadowattn
