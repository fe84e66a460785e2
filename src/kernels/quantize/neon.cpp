#include "kernels/simd/neon.h"
#include "kernels/quantize/quantize_impl.h"

namespace shadowattn {

template struct QuantizeCode<simd::Neon, ElementType::kF32>;
template struct QuantizeCode<simd::Neon, ElementType::kF16>;
template struct QuantizeCode<simd::Neon, ElementType::kQ8_0>;

}  // namespace shadowattn
