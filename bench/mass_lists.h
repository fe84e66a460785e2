// Token lists that several rows share, chosen by any estimate of their logits, and what each row
// keeps of its softmax mass. Plain computations, independent of the engine's.
//
// Pure functions; any thread. Throw std::bad_alloc.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/list_rows.h"

namespace shadowattn::bench {

/// Keys that every list has, as in EngineOptions.
struct ForcedKeys {
  int64_t sink = 0;    ///< first keys
  int64_t recent = 0;  ///< last keys of each row
};

/// Estimated logits of the rows of one list: logits[i] is [keys] of row i, which sees seen[i]; what
/// it does not see is not read.
struct ListEstimate {
  std::vector<std::span<const float>> logits;
  std::vector<KeyRange> seen;  ///< as many, none empty

  KeyRange range() const;  ///< what any row sees
};

/// Ranks of the keys in range(): Σ over rows of the estimated softmax share, as the engine ranks
/// them; of a single row its logits. Forced keys have infinity.
std::vector<float> rank_keys(const ListEstimate& list, const ForcedKeys& forced);

/// The chance that each key is among the k largest, 1 ≤ k ≤ ranks: 0, 1, or between where the last
/// of them tie with keys left out.
std::vector<float> choose_keys(std::span<const float> ranks, int64_t k);

/// ceil(keep · visible), at least 1 and at least the forced keys; at most visible.
int64_t list_length(double keep, const KeyRange& range, const ForcedKeys& forced);

}  // namespace shadowattn::bench
