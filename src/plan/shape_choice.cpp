#include "plan/shape_choice.h"

namespace shadowattn {

std::vector<ListShape> list_candidates(const ListShape& wanted, int64_t group_heads) {
  std::vector<ListShape> candidates = {wanted};
  if (group_heads == 1) candidates.front().share_heads = true;
  if (wanted.share_heads && group_heads > 1) {
    candidates.push_back({false, wanted.rows_per_list, false});
  }
  const bool shared = group_heads == 1;
  for (int32_t rows = wanted.rows_per_list / 2; rows >= 1; rows /= 2) {
    candidates.push_back({false, rows, shared});
  }
  return candidates;
}

ListShape choose_lists(std::span<const ShapeOffer> offers, const Visibility& visibility,
                       int64_t group_heads, int64_t dense_rows) {
  ListShape best{true, offers.front().lists.rows_per_list, offers.front().lists.share_heads};
  double lowest = 0.0;
  for (const ShapeOffer& offer : offers) {
    const PredictedCost cost = predict_cost(offer.costs, offer.lists, {.keep = offer.kept},
                                            visibility, group_heads, dense_rows);
    if (!cost.shadow_pays() || (!best.dense && cost.shadow >= lowest)) continue;
    best = offer.lists;
    lowest = cost.shadow;
  }
  return best;
}

}  // namespace shadowattn
