#include "kernels/select/select.h"

namespace shadowattn {

// Addresses only: code of an ISA file must not run on a machine that lacks the ISA.
#define SHADOWATTN_KERNEL(name, needs)                                    \
  int16_t select_row_max_##name(const int16_t*, int64_t);                 \
  int64_t select_exp_sum_##name(const int16_t*, int16_t, int64_t, float); \
  void select_merge_##name(const int16_t*, int16_t, int64_t, int16_t*);   \
  int64_t select_top_k_##name(const int16_t*, int64_t, int64_t, int32_t*);
#include "kernels/select/kernels.inc"
#undef SHADOWATTN_KERNEL

const std::vector<SelectKernel>& select_kernels() {
  static const std::vector<SelectKernel> kernels = {
#define SHADOWATTN_KERNEL(name, needs) \
  {#name,                              \
   needs,                              \
   select_row_max_##name,              \
   select_exp_sum_##name,              \
   select_merge_##name,                \
   select_top_k_##name},
#include "kernels/select/kernels.inc"
#undef SHADOWATTN_KERNEL
  };
  return kernels;
}

}  // namespace shadowattn
