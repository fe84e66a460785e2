// What a device leaves of a tile: INT8 scores in the unit of its graph. This turns them into what
// select reads: one rank per key for a list of several rows, 16-bit scores else.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/score_rank/score_rank.h"
#include "kernels/scratch.h"
#include "kernels/select/select.h"
#include "pilot/row_levels.h"
#include "pilot/score_rows.h"
#include "plan/list_rows.h"

namespace shadowattn {

/// The scores of one KV head and query tile, key tile by key tile. Rows are ordered by query row,
/// then by query head: row (r - rows.first) · heads + h - first_head.
struct DeviceScores {
  struct KeyTileScores {
    const int8_t* scores = nullptr;  ///< [rows][keys], what lies beyond the last real row unread
    int64_t first = 0;               ///< relative to first_key
    int64_t keys = 0;                ///< a multiple of 64
  };

  std::span<const KeyTileScores> tiles;  ///< ascending, without gaps
  int64_t first_key = 0;                 ///< absolute
  RowRange rows;
  int64_t first_head = 0;
  int64_t heads = 0;
  const float* query_scale = nullptr;  ///< [rows.count · heads]
  /// log2 units per score unit and unit of query_scale, signed:
  /// key scale · softmax scale · log2(e) / multiplier.
  double log2_per_unit = 0.0;
  double error_variance = 0.0;  ///< of a logit, at most (pilot/estimate_error.h)
};

/// One object per thread, reused.
class DeviceEstimate {
 public:
  /// Grows the scratch so that `ranks` and `scores` allocate nothing. Throws std::bad_alloc.
  void reserve(int64_t max_list_rows, int64_t keys, bool ranks);

  /// Ranks of the keys for `list`, none of whose rows is biased: rows().row(0).
  void ranks(const DeviceScores& device, const Visibility& visibility, const ListRows& list,
             const ScoreRankKernel& kernel, const SelectKernel& select);

  /// After `ranks` of the same list: only the rows that see a key give it mass
  /// (RowLevels::leave_out_unseen).
  void leave_out_unseen(const DeviceScores& device, const Visibility& visibility,
                        const ListRows& list);

  /// Scores for each row of `list`.
  void scores(const DeviceScores& device, const Visibility& visibility, const ListRows& list,
              const ScoreRankKernel& kernel);

  ScoreRows rows() { return {scores_.data(), stride_, first_key_, units_per_logit_.data()}; }
  int64_t scratch_bytes() const;

 private:
  int64_t stride_ = 0;
  int64_t first_key_ = 0;
  KeySample sample_;
  RowLevels levels_;
  ScratchBuffer<float> row_factor_;        // [rows]
  ScratchBuffer<int16_t> scores_;          // [rows][stride], or one row of ranks
  ScratchBuffer<double> units_per_logit_;  // [rows]
};

}  // namespace shadowattn
