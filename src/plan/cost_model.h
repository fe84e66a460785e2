// The automatic gate: what a call would cost densely and with token lists, from times measured on
// this machine (engine/cost_probe.h).
#pragma once

#include <cstdint>

#include "plan/list_budget.h"
#include "plan/visibility.h"
#include "shadowattn/engine.h"
#include "shadowattn/profile.h"

namespace shadowattn {

/// Nanoseconds of one thread, for one shape of heads and one set of options.
///
///   dense  = Σ_tiles keys · dense_key  +  pairs · dense_pair
///   shadow = keys · shadow_key  +  Σ_lists (keys · list_key + kept · list_kept)
///
/// all per KV head; `keys` are those that a tile sees, or those from the first to the last that a
/// list sees, `kept` those that it keeps, `pairs` (row, query head, key) triples.
struct CostModel {
  double dense_key = 0.0;   ///< reading and packing a key for a tile
  double dense_pair = 0.0;  ///< attending to it
  double shadow_key = 0.0;  ///< quantising a key
  double list_key = 0.0;    ///< estimating and ranking a key for a full list
  double list_kept = 0.0;   ///< gathering and attending to a key of a full list
};

/// What a call would take on one thread, in nanoseconds.
struct PredictedCost {
  double dense = 0.0;
  double shadow = 0.0;

  /// Shadow must promise a gain that is worth its error and the model's own.
  bool shadow_pays() const { return shadow < 0.95 * dense; }
};

/// Of a KV head whose lists keep what `budget` allows. `group_heads`: query heads per KV head;
/// `dense_rows`: query rows of a dense tile.
PredictedCost predict_cost(const CostModel& model, const ListShape& lists, const ListBudget& budget,
                           const Visibility& visibility, int64_t group_heads, int64_t dense_rows);

/// The same with the lists and the budget of the options.
inline PredictedCost predict_cost(const CostModel& model, const EngineOptions& options,
                                  const Visibility& visibility, int64_t group_heads,
                                  int64_t dense_rows) {
  return predict_cost(model, ListShape{false, options.rows_per_list, options.share_heads},
                      ListBudget::from(options), visibility, group_heads, dense_rows);
}

}  // namespace shadowattn
