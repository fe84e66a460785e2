#include "kernels/keep/keep.h"

namespace shadowattn {

// Addresses only: code of an ISA file must not run on a machine that lacks the ISA.
#define SHADOWATTN_KERNEL(name, needs)        \
  double keep_pages_##name(const KeepPages&); \
  void keep_values_##name(const RowSource&, int64_t, int64_t, int64_t, int64_t, float*, float*);
#include "kernels/keep/kernels.inc"
#undef SHADOWATTN_KERNEL

const std::vector<KeepKernel>& keep_kernels() {
  static const std::vector<KeepKernel> kernels = {
#define SHADOWATTN_KERNEL(name, needs) {#name, needs, keep_pages_##name, keep_values_##name},
#include "kernels/keep/kernels.inc"
#undef SHADOWATTN_KERNEL
  };
  return kernels;
}

}  // namespace shadowattn
