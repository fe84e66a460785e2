// The pilot: an INT8 estimate of Q·Kᵀ, on the CPU.
//
// Keys are quantised and packed once per call (KeyEstimate), queries once per tile. With q8, k8 the
// INT8 rows and q_scale, k_scale their scales,
//
//   q·k ≈ q_scale[r] · k_scale[j] · (q8[r] · k8[j])
//
// A factor that is the same for all keys changes no ranking, so a list needs one unit for its rows:
//
//   score[r][j] = round(acc · (k_scale[j] / k_max) · f[r]),   f[r] = 32766 · q_scale[r] / bound,
//   bound = max over the rows of the list of 127 · |q8[r]|₁ · q_scale[r]
//
// Scores of one list are thus logits in the unit bound·k_max·scale/32766; |score| ≤ 32766 always
// (Hölder), and the unit is below 1/5000 of the largest logit for ordinary rows, finer than the
// INT8 operands' own error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/quantize/quantize.h"
#include "kernels/scratch.h"
#include "kernels/select/select.h"
#include "plan/list_plan.h"
#include "shadowattn/attention.h"
#include "shadowattn/executor.h"

namespace shadowattn {

/// The rows of a tile that share one token list: query rows × query heads of one KV head.
struct ListRows {
  RowRange rows;
  int64_t first_head = 0;
  int64_t heads = 0;

  int64_t count() const { return rows.count * heads; }
  /// Flat index i: heads of the first row, then of the second, …
  int64_t head(int64_t i) const { return first_head + i % heads; }
  int64_t row(int64_t i) const { return rows.first + i / heads; }
};

/// Quantised, packed keys [begin, end) of all KV heads of one call.
class KeyEstimate {
 public:
  /// Keys outside [begin, end) are not read. False when a key holds a NaN or an infinity: then no
  /// estimate is to be had. Throws std::bad_alloc.
  bool build(const AttentionCall& call, int64_t begin, int64_t end, const QuantizeKernel& quantize,
             const PilotDotKernel& pilot, Executor& executor);

  /// Absolute index of the first key of block 0.
  int64_t begin() const { return begin_; }
  int64_t end() const { return end_; }
  int64_t blocks() const { return blocks_; }
  /// Packed blocks of a KV head.
  const void* packed(int64_t kv_head) const {
    return packed_.data() + kv_head * blocks_ * block_bytes_;
  }
  /// k_scale / k_max per key, zero in the padding.
  const float* factors(int64_t kv_head) const {
    return scales_.data() + kv_head * blocks_ * kPilotKeyBlock;
  }
  /// k_max: the largest scale of the KV head's keys.
  float largest_scale(int64_t kv_head) const {
    return largest_scale_[static_cast<size_t>(kv_head)];
  }

 private:
  void normalise_factors(int64_t kv_heads);

  int64_t begin_ = 0;
  int64_t end_ = 0;
  int64_t blocks_ = 0;
  int64_t block_bytes_ = 0;
  ScratchBuffer<std::byte> packed_;           // [kv_heads][blocks] packed blocks
  ScratchBuffer<float> scales_;               // [kv_heads][blocks · kPilotKeyBlock]
  std::vector<ScratchBuffer<int8_t>> chunk_;  // per thread: one chunk of unpacked keys
  std::vector<float> largest_scale_;
};

/// Scores of the rows of one tile, list after list. One object per thread, reused.
class TileEstimate {
 public:
  /// Grows the scratch so that `estimate` allocates nothing. Throws std::bad_alloc.
  void reserve(int64_t max_rows, int64_t dim, int64_t keys, const PilotDotKernel& pilot);

  /// Scores for the rows of `lists` (all of one KV head). Keys that a row does not see become
  /// kHiddenScore. False when a query row holds a NaN or an infinity.
  bool estimate(const AttentionCall& call, const KeyEstimate& keys, const Visibility& visibility,
                int64_t kv_head, std::span<const ListRows> lists, const QuantizeKernel& quantize,
                const PilotDotKernel& pilot);

  /// Scores of row i, counted through all lists: [stride()], of absolute keys keys.begin() + j.
  int16_t* row(int64_t i) { return scores_.data() + i * stride_; }
  /// Score units per logit of row i; 0 when all its scores are zero.
  double units_per_logit(int64_t i) const { return units_per_logit_.data()[i]; }
  /// Multiple of kScorePadding; what lies beyond the last key is hidden.
  int64_t stride() const { return stride_; }

 private:
  bool quantize_list(const AttentionCall& call, const ListRows& list, int64_t first,
                     const QuantizeKernel& quantize);
  void choose_factors(int64_t first, int64_t count, int64_t dim, bool negative);
  void hide(const Visibility& visibility, int64_t head, int64_t query_row, int64_t i,
            const KeyEstimate& keys);

  int64_t stride_ = 0;
  ScratchBuffer<int8_t> quantised_;        // [rows][dim]
  ScratchBuffer<std::byte> packed_;        // packed query rows
  ScratchBuffer<float> query_scale_;       // [rows]
  ScratchBuffer<float> row_factor_;        // [rows]
  ScratchBuffer<double> units_per_logit_;  // [rows]
  ScratchBuffer<int16_t> scores_;          // [rows][stride]
};

}  // namespace shadowattn
