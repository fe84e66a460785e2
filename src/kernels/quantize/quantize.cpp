#include "kernels/quantize/quantize.h"

#include "kernels/quantize/quantize_code.h"

namespace shadowattn {

// Names only: what they are made of is known to the ISA files alone.
namespace simd {
#define SHADOWATTN_KERNEL(name, needs, Simd) struct Simd;
#include "kernels/quantize/kernels.inc"
#undef SHADOWATTN_KERNEL
}  // namespace simd

namespace {

template <typename Simd, ElementType kType>
QuantizeFunctions functions() {
  using Code = QuantizeCode<Simd, kType>;
  return {Code::rows, Code::row_scales, Code::fixed, Code::add_rows};
}

}  // namespace

// The list is built here, from addresses only: code of an ISA file must not run on a machine that
// lacks the ISA, not even a constructor.
const std::vector<QuantizeKernel>& quantize_kernels() {
  static const std::vector<QuantizeKernel> kernels = {
#define SHADOWATTN_KERNEL(name, needs, Simd)                 \
  {#name, needs, functions<simd::Simd, ElementType::kF32>(), \
   functions<simd::Simd, ElementType::kF16>(), functions<simd::Simd, ElementType::kQ8_0>()},
#include "kernels/quantize/kernels.inc"
#undef SHADOWATTN_KERNEL
  };
  return kernels;
}

}  // namespace shadowattn
