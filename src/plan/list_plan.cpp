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
    case DenseReason::kFaster:
      return "dense attention is predicted to be faster";
    case DenseReason::kNonFinite:
      return "NaN or infinity in queries or keys";
  }
  return "";
}

int64_t dense_parts(int64_t tasks, int64_t keys) {
  constexpr int64_t kEnoughTasks = 16;
  constexpr int64_t kPartKeys = 1024;  // some ten microseconds for one row of a group of heads
  constexpr int64_t kMostParts = 32;
  if (tasks >= kEnoughTasks || keys < 2 * kPartKeys) return 1;
  const int64_t parts = std::min(keys / kPartKeys, kMostParts);
  return (keys + part_length(keys, parts) - 1) / part_length(keys, parts);
}

int64_t part_length(int64_t keys, int64_t parts) {
  constexpr int64_t kStep = 64;
  return ((keys + parts - 1) / parts + kStep - 1) / kStep * kStep;
}

std::vector<RowRange> list_groups(const Visibility& visibility, int64_t rows_per_list,
                                  RowRange rows) {
  std::vector<RowRange> groups;
  const int64_t end = rows.first + rows.count;
  for (int64_t row = rows.first; row < end;) {
    RowRange group{row, 1};
    while (group.count < rows_per_list && row + group.count < end &&
           visibility.row(0, row + group.count).continues) {
      ++group.count;
    }
    row += group.count;
    groups.push_back(group);
  }
  return groups;
}

std::vector<QueryTile> list_tiles(const Visibility& visibility, int64_t rows_per_list,
                                  int64_t tile_rows) {
  std::vector<QueryTile> tiles;
  const int64_t end = visibility.query_rows();
  for (int64_t row = 0; row < end; row += tile_rows) {
    const RowRange rows{row, std::min(tile_rows, end - row)};
    tiles.push_back({rows, list_groups(visibility, rows_per_list, rows)});
  }
  return tiles;
}

bool may_be_sparse(const EngineOptions& options, const Visibility& visibility) {
  if (options.mode != Mode::kShadow) return false;
  if (options.output_error > 0.0) return visibility.max_visible() > options.keep_floor;
  // The whole context is kept for every row if it is for the longest.
  return !ListBudget::from(options).keeps_all(visibility.max_visible());
}

CallPlan plan_call(const EngineOptions& options, const Visibility& visibility, int64_t group_heads,
                   int64_t dense_target) {
  CallPlan plan;
  const int64_t dense_rows = std::max<int64_t>(1, dense_target / group_heads);
  if (options.mode == Mode::kDense) {
    plan.dense_reason = DenseReason::kRequested;
  } else if (!may_be_sparse(options, visibility)) {
    plan.dense_reason = DenseReason::kShort;
  }
  if (plan.dense()) {
    plan.tiles = dense_tiles(visibility, group_heads, dense_rows);
    return plan;
  }
  return plan_lists({false, options.rows_per_list, options.share_heads}, options.attn_error > 0.0,
                    visibility, group_heads);
}

CallPlan plan_lists(const ListShape& lists, bool by_mass, const Visibility& visibility,
                    int64_t group_heads) {
  CallPlan plan;
  const int64_t rows_per_list = lists.rows_per_list;
  const int64_t list_heads = lists.share_heads ? group_heads : 1;
  plan.share_heads = lists.share_heads;
  plan.ranks = (rows_per_list * list_heads > 1 || by_mass) && !visibility.any_biased();
  // Scores of a tile lie in the second-level cache: few rows of many keys.
  const int64_t rows_of_scores = plan.ranks ? kTileTarget : kScoreTileTarget;
  const int64_t target = std::max<int64_t>(1, rows_of_scores / group_heads);
  const int64_t tile_rows = std::max(rows_per_list, target / rows_per_list * rows_per_list);

  plan.tiles = list_tiles(visibility, rows_per_list, tile_rows);
  return plan;
}

}  // namespace shadowattn
