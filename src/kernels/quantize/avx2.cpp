#include "kernels/simd/avx2.h"
#include "kernels/quantize/quantize_impl.h"

namespace shadowattn {

template struct QuantizeCode<simd::Avx2, ElementType::kF32>;
template struct QuantizeCode<simd::Avx2, ElementType::kF16>;
template struct QuantizeCode<simd::Avx2, ElementType::kQ8_0>;

}  // namespace shadowattn
