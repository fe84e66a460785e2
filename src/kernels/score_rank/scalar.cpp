// Plain C++; also the definition that the other kernels are compared with.
#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/score_rank/score_rank.h"

namespace shadowattn {

void score_rank_ranks_scalar(const ScoreRank& list) {
  for (int64_t j = 0; j < list.keys; ++j) {
    float share = 0.0F;
    for (int64_t r = 0; r < list.rows; ++r) {
      const auto score = static_cast<float>(list.scores[r * list.stride + j]);
      const float bits = std::fma(score, list.slope[r], list.offset[r]);
      const float clamped = std::min(std::max(bits, 0.0F), kRankCap);
      share += std::bit_cast<float>(static_cast<int32_t>(clamped));
    }
    list.rank[j] = static_cast<int16_t>(std::bit_cast<uint32_t>(share) >> 16);
  }
}

void score_rank_widen_scalar(const int8_t* scores, int64_t keys, int16_t* out) {
  for (int64_t j = 0; j < keys; ++j) out[j] = static_cast<int16_t>(scores[j] * 256);
}

}  // namespace shadowattn
