#include "kernels/quantize/quantize.h"

namespace shadowattn {

// The list is built here, from addresses only: code of an ISA file must not run on a machine that
// lacks the ISA, not even a constructor.
#define SHADOWATTN_KERNEL(name, needs)                                               \
  bool quantize_f32_##name(const void*, int64_t, int64_t, int64_t, int8_t*, float*); \
  bool quantize_f16_##name(const void*, int64_t, int64_t, int64_t, int8_t*, float*); \
  bool quantize_q8_0_##name(const void*, int64_t, int64_t, int64_t, int8_t*, float*);
#include "kernels/quantize/kernels.inc"
#undef SHADOWATTN_KERNEL

const std::vector<QuantizeKernel>& quantize_kernels() {
  static const std::vector<QuantizeKernel> kernels = {
#define SHADOWATTN_KERNEL(name, needs) \
  {#name, needs, quantize_f32_##name, quantize_f16_##name, quantize_q8_0_##name},
#include "kernels/quantize/kernels.inc"
#undef SHADOWATTN_KERNEL
  };
  return kernels;
}

}  // namespace shadowattn
