// The plan of one call: dense or not, and how its rows are cut into tiles and token lists.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/visibility.h"
#include "shadowattn/engine.h"

namespace shadowattn {

/// A run of query rows.
struct RowRange {
  int64_t first = 0;
  int64_t count = 0;
};

/// The rows that one task estimates together, and the groups of rows that share lists in it.
struct QueryTile {
  RowRange rows;
  std::vector<RowRange> groups;  ///< cover `rows` in order; none crosses from sequence to sequence
};

struct CallPlan {
  DenseReason dense_reason = DenseReason::kNone;  ///< kNone: shadow
  std::vector<QueryTile> tiles;

  bool dense() const { return dense_reason != DenseReason::kNone; }
};

/// clamp(ceil(keep · visible), floor, visible).
int64_t keep_count(const EngineOptions& options, int64_t visible);

/// Rows × query heads that a tile aims at: enough that packing a key for the tile costs little
/// beside using it.
inline constexpr int64_t kTileTarget = 64;

/// `group_heads`: query heads per KV head. Throws std::bad_alloc.
CallPlan plan_call(const EngineOptions& options, const Visibility& visibility, int64_t group_heads);

}  // namespace shadowattn
