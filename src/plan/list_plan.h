// The plan of one call: dense or not, and how its rows are cut into tiles and token lists.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/list_budget.h"
#include "plan/visibility.h"
#include "shadowattn/engine.h"
#include "shadowattn/profile.h"

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
  bool share_heads = true;  ///< as in EngineOptions
  /// No row is biased, and lists have several rows or end by mass: the pilot ranks
  /// keys for all rows of a list at once and stores no scores. Else it stores those of each row.
  bool ranks = false;

  bool dense() const { return dense_reason != DenseReason::kNone; }
};

/// ListBudget::most of the options.
inline int64_t keep_count(const EngineOptions& options, int64_t visible) {
  return ListBudget::from(options).most(visible);
}

/// Rows × query heads that a tile aims at: enough that packing a key for the tile costs little
/// beside using it.
inline constexpr int64_t kTileTarget = 64;
/// The same for a dense call with kernels that pack keys to 16 bits, which costs more.
inline constexpr int64_t kWideTileTarget = 224;
/// The same where the pilot stores the scores of every row.
inline constexpr int64_t kScoreTileTarget = 16;

/// Lists of one shape for the whole call. Throws std::bad_alloc.
CallPlan plan_lists(const ListShape& lists, bool by_mass, const Visibility& visibility,
                    int64_t group_heads);

/// `group_heads`: query heads per KV head; `dense_target`: kTileTarget of a dense call. Throws
/// std::bad_alloc.
CallPlan plan_call(const EngineOptions& options, const Visibility& visibility, int64_t group_heads,
                   int64_t dense_target = kTileTarget);

/// Whether a call's mode is still open once its mask is known: it is neither asked to be dense nor
/// too short.
bool may_be_sparse(const EngineOptions& options, const Visibility& visibility);

/// Into how many parts of equal length a dense call with `tasks` tiles × KV heads cuts its keys, so
/// that all threads have work when there are few rows. The number of threads plays no part: the
/// result does not depend on it.
int64_t dense_parts(int64_t tasks, int64_t keys);
/// Keys per part, the last one may have fewer; a multiple of 64.
int64_t part_length(int64_t keys, int64_t parts);

/// All query rows in dense tiles of up to `rows`. Rows that see other keys than those before (of
/// another sequence) get a tile of their own where that is less work. Throws std::bad_alloc.
std::vector<QueryTile> dense_tiles(const Visibility& visibility, int64_t group_heads, int64_t rows);

/// A run of rows in groups of up to `rows_per_list` rows of one sequence. Throws std::bad_alloc.
std::vector<RowRange> list_groups(const Visibility& visibility, int64_t rows_per_list,
                                  RowRange rows);

/// All query rows in tiles of up to `tile_rows`, and these in groups. Throws std::bad_alloc.
std::vector<QueryTile> list_tiles(const Visibility& visibility, int64_t rows_per_list,
                                  int64_t tile_rows);

}  // namespace shadowattn
