#include "kernels/attend16/attend16.h"

namespace shadowattn {

// Addresses only: code of an ISA file must not run on a machine that lacks the ISA.
#define SHADOWATTN_KERNEL(name, needs)                                                          \
  bool attend16_pack_query_##name(const float*, int64_t, float, int16_t*, float*);              \
  bool attend16_pack_keys_##name(const RowSource&, const int32_t*, int64_t, int64_t, int64_t,   \
                                 int32_t*, float*);                                             \
  void attend16_pack_values_##name(const RowSource&, const int32_t*, int64_t, int64_t, int64_t, \
                                   int32_t*);                                                   \
  int16_t attend16_key_element_##name(const int32_t*, int64_t, int64_t, int64_t);               \
  uint16_t attend16_value_element_##name(const int32_t*, int64_t, int64_t, int64_t);            \
  void attend16_block_##name(const Attend16Block&);
#include "kernels/attend16/kernels.inc"
#undef SHADOWATTN_KERNEL

const std::vector<Attend16Kernel>& attend16_kernels() {
  static const std::vector<Attend16Kernel> kernels = {
#define SHADOWATTN_KERNEL(name, needs) \
  {#name,                              \
   needs,                              \
   attend16_pack_query_##name,         \
   attend16_pack_keys_##name,          \
   attend16_pack_values_##name,        \
   attend16_key_element_##name,        \
   attend16_value_element_##name,      \
   attend16_block_##name},
#include "kernels/attend16/kernels.inc"
#undef SHADOWATTN_KERNEL
  };
  return kernels;
}

}  // namespace shadowattn
