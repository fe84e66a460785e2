#include "kernels/quantize/quantize_impl.h"
#include "kernels/simd/generic.h"

namespace shadowattn {

template struct QuantizeCode<simd::Generic, ElementType::kF32>;
template struct QuantizeCode<simd::Generic, ElementType::kF16>;
template struct QuantizeCode<simd::Generic, ElementType::kQ8_0>;

}  // namespace shadowattn
