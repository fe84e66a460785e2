#include "plan/cost_model.h"

#include <algorithm>

namespace shadowattn {

PredictedCost predict_cost(const CostModel& model, const ListShape& shape, const ListBudget& budget,
                           const Visibility& visibility, int64_t group_heads, int64_t dense_rows) {
  // Rows of one mask head stand for all: masks that differ by head are rare and alike in size.
  const int64_t rows = visibility.query_rows();
  const int64_t lists = shape.share_heads ? 1 : group_heads;
  PredictedCost cost;
  cost.shadow = model.shadow_key * static_cast<double>(visibility.end() - visibility.begin());
  int64_t list_longest = 0;
  int64_t tile_longest = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t visible = visibility.row(0, i).visible;
    cost.dense += model.dense_pair * static_cast<double>(visible * group_heads);
    list_longest = std::max(list_longest, visible);
    tile_longest = std::max(tile_longest, visible);
    if ((i + 1) % shape.rows_per_list == 0 || i + 1 == rows) {
      const int64_t kept = budget.most(list_longest);
      cost.shadow +=
          static_cast<double>(lists) * (model.list_key * static_cast<double>(list_longest) +
                                        model.list_kept * static_cast<double>(kept));
      list_longest = 0;
    }
    if ((i + 1) % dense_rows == 0 || i + 1 == rows) {
      cost.dense += model.dense_key * static_cast<double>(tile_longest);
      tile_longest = 0;
    }
  }
  return cost;
}

}  // namespace shadowattn
