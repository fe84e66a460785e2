// Which lists suit a KV head: the cheapest that lose no more mass than they may, by what they were
// seen to keep and by times measured on this machine; or none, where dense attention is as fast.
#pragma once

#include <span>
#include <vector>

#include "plan/cost_model.h"
#include "plan/visibility.h"
#include "shadowattn/profile.h"

namespace shadowattn {

/// Lists to choose from, coarsest first: `wanted` (that of the options), then finer ones. Finer
/// lists keep fewer tokens and cost more to make. With one query head per KV head sharing heads
/// makes no difference, and such lists are left out.
std::vector<ListShape> list_candidates(const ListShape& wanted, int64_t group_heads);

/// One candidate.
struct ShapeOffer {
  ListShape lists;
  CostModel costs;    ///< measured with lists of this shape
  double kept = 1.0;  ///< share of what a list sees that it was seen to keep
};

/// The offer with the lowest cost, or dense lists when none beats dense attention by the margin of
/// PredictedCost::shadow_pays. `offers` must not be empty; `dense_rows`: query rows of a dense
/// tile.
ListShape choose_lists(std::span<const ShapeOffer> offers, const Visibility& visibility,
                       int64_t group_heads, int64_t dense_rows);

}  // namespace shadowattn
