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
  KeyRange list_keys{visibility.end(), 0};  // an estimate is of a run of keys, holes and all
  int64_t tile_longest = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t visible = visibility.row(0, i).visible;
    cost.dense += model.dense_pair * static_cast<double>(visible * group_heads);
    list_longest = std::max(list_longest, visible);
    if (visible > 0) {
      list_keys.begin = std::min<int64_t>(list_keys.begin, visibility.row(0, i).begin);
      list_keys.end = std::max<int64_t>(list_keys.end, visibility.row(0, i).end);
    }
    tile_longest = std::max(tile_longest, visible);
    if ((i + 1) % shape.rows_per_list == 0 || i + 1 == rows) {
      const int64_t kept = budget.most(list_longest);
      const int64_t estimated = std::max<int64_t>(list_keys.end - list_keys.begin, 0);
      cost.shadow += static_cast<double>(lists) * (model.list_key * static_cast<double>(estimated) +
                                                   model.list_kept * static_cast<double>(kept));
      list_longest = 0;
      list_keys = {visibility.end(), 0};
    }
    if ((i + 1) % dense_rows == 0 || i + 1 == rows) {
      cost.dense += model.dense_key * static_cast<double>(tile_longest);
      tile_longest = 0;
    }
  }
  return cost;
}

}  // namespace shadowattn
