#include "kernels/score_rank/score_rank.h"

namespace shadowattn {

// Addresses only: code of an ISA file must not run on a machine that lacks the ISA.
#define SHADOWATTN_KERNEL(name, needs)            \
  void score_rank_ranks_##name(const ScoreRank&); \
  void score_rank_widen_##name(const int8_t*, int64_t, int16_t*);
#include "kernels/score_rank/kernels.inc"
#undef SHADOWATTN_KERNEL

const std::vector<ScoreRankKernel>& score_rank_kernels() {
  static const std::vector<ScoreRankKernel> kernels = {
#define SHADOWATTN_KERNEL(name, needs) \
  {#name, needs, score_rank_ranks_##name, score_rank_widen_##name},
#include "kernels/score_rank/kernels.inc"
#undef SHADOWATTN_KERNEL
  };
  return kernels;
}

}  // namespace shadowattn
