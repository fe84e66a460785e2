#include "kernels/attend/attend.h"

namespace shadowattn {

// Addresses only: code of an ISA file must not run on a machine that lacks the ISA.
#define SHADOWATTN_KERNEL(name, needs, row_multiple)                                              \
  bool attend_gather_##name(const RowSource&, const int32_t*, int64_t, int64_t, int64_t, float*); \
  void attend_tile_block_##name(const AttendBlock&);                                              \
  void attend_add_output_##name(const AttendBlock&);                                              \
  void attend_row_list_##name(const AttendRow&);                                                  \
  void attend_exp_##name(const float*, int64_t, float*);
#include "kernels/attend/kernels.inc"
#undef SHADOWATTN_KERNEL

const std::vector<AttendKernel>& attend_kernels() {
  static const std::vector<AttendKernel> kernels = {
#define SHADOWATTN_KERNEL(name, needs, row_multiple) \
  {#name,                                            \
   needs,                                            \
   row_multiple,                                     \
   attend_gather_##name,                             \
   attend_tile_block_##name,                         \
   attend_add_output_##name,                         \
   attend_row_list_##name,                           \
   attend_exp_##name},
#include "kernels/attend/kernels.inc"
#undef SHADOWATTN_KERNEL
  };
  return kernels;
}

}  // namespace shadowattn
