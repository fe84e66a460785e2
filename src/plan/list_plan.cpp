#include "plan/list_plan.h"

#include <algorithm>
#include <cmath>

namespace shadowattn {

std::string_view describe(DenseReason reason) {
  switch (reason) {
    case DenseReason::kNone:
      return "";
    case DenseReason::kRequested:
      return "dense mode requested";
    case DenseReason::kShort:
      return "context no longer than what would be kept";
    case DenseReason::kNonFinite:
      return "NaN or infinity in queries or keys";
  }
  return "";
}

int64_t keep_count(const EngineOptions& options, int64_t visible) {
  // 0.2 · 1000 may come out a rounding above 200: that is still 200 tokens.
  const double share = options.keep * static_cast<double>(visible);
  const auto wanted = static_cast<int64_t>(std::ceil(share * (1.0 - 1e-12)));
  return std::min(std::max<int64_t>(wanted, options.keep_floor), visible);
}

CallPlan plan_call(const EngineOptions& options, const Visibility& visibility,
                   int64_t group_heads) {
  CallPlan plan;
  if (options.mode == Mode::kDense) {
    plan.dense_reason = DenseReason::kRequested;
  } else if (keep_count(options, visibility.max_visible()) >= visibility.max_visible()) {
    // keep_count is the whole context for the longest row, so it is for every row.
    plan.dense_reason = DenseReason::kShort;
  }
  const int64_t target = std::max<int64_t>(1, kTileTarget / group_heads);
  const int64_t rows_per_list = plan.dense() ? target : options.rows_per_list;
  const int64_t tile_rows = std::max(rows_per_list, target / rows_per_list * rows_per_list);

  for (int64_t row = 0; row < visibility.query_rows();) {
    QueryTile tile;
    tile.rows.first = row;
    const int64_t last = std::min(row + tile_rows, visibility.query_rows());
    while (row < last) {
      RowRange group{row, 1};
      while (group.count < rows_per_list && row + group.count < last &&
             (plan.dense() || visibility.row(0, row + group.count).continues)) {
        ++group.count;
      }
      row += group.count;
      tile.groups.push_back(group);
    }
    tile.rows.count = row - tile.rows.first;
    plan.tiles.push_back(std::move(tile));
  }
  return plan;
}

}  // namespace shadowattn
