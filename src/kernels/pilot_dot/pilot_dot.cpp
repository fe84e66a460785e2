#include "kernels/pilot_dot/pilot_dot.h"

namespace shadowattn {

// Addresses only: code of an ISA file must not run on a machine that lacks the ISA.
#define SHADOWATTN_KERNEL(name, needs)                                     \
  int64_t pilot_key_block_bytes_##name(int64_t);                           \
  int64_t pilot_query_row_bytes_##name(int64_t);                           \
  void pilot_pack_keys_##name(const int8_t*, int64_t, int64_t, void*);     \
  void pilot_pack_queries_##name(const int8_t*, int64_t, int64_t, void*);  \
  void pilot_pack_queries7_##name(const int8_t*, int64_t, int64_t, void*); \
  void pilot_scores_##name(const PilotTile&);                              \
  void pilot_fixed_scores_##name(const PilotFixed&);                       \
  void pilot_ranks_##name(const PilotRank&);                               \
  void pilot_shares_##name(const PilotShares&);
#include "kernels/pilot_dot/kernels.inc"
#undef SHADOWATTN_KERNEL

const std::vector<PilotDotKernel>& pilot_dot_kernels() {
  static const std::vector<PilotDotKernel> kernels = {
#define SHADOWATTN_KERNEL(name, needs) \
  {#name,                              \
   needs,                              \
   pilot_key_block_bytes_##name,       \
   pilot_query_row_bytes_##name,       \
   pilot_pack_keys_##name,             \
   pilot_pack_queries_##name,          \
   pilot_pack_queries7_##name,         \
   pilot_scores_##name,                \
   pilot_fixed_scores_##name,          \
   pilot_ranks_##name,                 \
   pilot_shares_##name},
#include "kernels/pilot_dot/kernels.inc"
#undef SHADOWATTN_KERNEL
  };
  return kernels;
}

}  // namespace shadowattn
