// The pilot: an INT8 estimate of Q·Kᵀ, on the CPU.
//
// Keys are quantised and packed once per call and KV head (KeyEstimate), queries once per tile.
// With q8, k8 the INT8 rows and q_scale, k_scale their scales,
//
//   q·k ≈ q_scale[r] · k_scale[j] · (q8[r] · k8[j])
//
// A list for a single row needs no more than an order of its keys. A factor that is the same for
// all keys changes no order, so its scores are logits in any unit that fits 16 bits:
//
//   score[r][j] = round(acc · (k_scale[j] / k_max) · f[r]),   f[r] = 32766 · q_scale[r] / bound,
//   bound = max over the rows of the list of 127 · |q8[r]|₁ · q_scale[r]
//
// |score| ≤ 32766 always (Hölder), and the unit is below 1/5000 of the largest logit for ordinary
// rows, finer than the INT8 operands' own error.
//
// A list for several rows ranks a key by the softmax mass that its rows give it together:
//
//   share[j] = Σ_r 2^(logit2[r][j] - level[r]),   level[r] = log2 Σ_j 2^logit2[r][j]
//
// which keeps, of all lists of its length, the most mass. The kernel adds the shares up while the
// scores are in registers, so it needs the levels first; they come from a sample of the keys: the
// first and the last ones whole (sinks and neighbours hold most of the mass), of the others every
// kSampleStride-th pair of blocks. A row whose peak is missed has too low a level, which makes its
// own peak and neighbours rank higher, never lower.
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
  int64_t step = 1;  ///< of the rows only every step-th

  int64_t count() const { return (rows.count + step - 1) / step * heads; }
  /// Flat index i: heads of the first row, then of the second, …
  int64_t head(int64_t i) const { return first_head + i % heads; }
  int64_t row(int64_t i) const { return rows.first + i / heads * step; }

  /// Every `n`-th of the rows, the last one among them.
  ListRows sampled(int64_t n) const {
    const int64_t skipped = (rows.count - 1) % n;
    return {{rows.first + skipped, rows.count - skipped}, first_head, heads, n};
  }
};

/// Quantised, packed keys [begin, end) of one KV head.
class KeyEstimate {
 public:
  /// Keys outside [begin, end) are not read. False when a key holds a NaN or an infinity: then no
  /// estimate is to be had. Throws std::bad_alloc.
  bool build(const AttentionCall& call, int64_t kv_head, int64_t begin, int64_t end,
             const QuantizeKernel& quantize, const PilotDotKernel& pilot, Executor& executor);

  /// Absolute index of the first key of block 0.
  int64_t begin() const { return begin_; }
  int64_t end() const { return end_; }
  /// Packed block `block`.
  const std::byte* packed(int64_t block) const { return packed_.data() + block * block_bytes_; }
  /// k_scale / k_max per key, zero in the padding.
  const float* factors() const { return scales_.data(); }
  /// k_max: the largest scale of the keys.
  float largest_scale() const { return largest_scale_; }
  int64_t scratch_bytes() const;

 private:
  void normalise_factors();

  int64_t begin_ = 0;
  int64_t end_ = 0;
  int64_t block_bytes_ = 0;
  float largest_scale_ = 0.0F;
  ScratchBuffer<std::byte> packed_;           // [blocks] packed blocks
  ScratchBuffer<float> scales_;               // [blocks · kPilotKeyBlock]
  std::vector<ScratchBuffer<int8_t>> chunk_;  // per thread: one chunk of unpacked keys
};

/// What the rows of one tile make of the keys. One object per thread, reused.
class TileEstimate {
 public:
  /// Of every so many pairs of blocks in the middle of the context, one is sampled.
  static constexpr int64_t kSampleStride = 16;
  /// Contexts of up to so many blocks are sampled whole.
  static constexpr int64_t kWholeBlocks = 16;

  /// Grows the scratch so that `scores` or `ranks` allocates nothing. Throws std::bad_alloc.
  void reserve_scores(int64_t max_rows, int64_t dim, int64_t keys, const PilotDotKernel& pilot);
  void reserve_ranks(int64_t max_rows, int64_t dim, int64_t keys, const PilotDotKernel& pilot);

  /// Scores for the rows of `lists` (all of one KV head). Keys that a row does not see become
  /// kHiddenScore. False when a query row holds a NaN or an infinity.
  bool scores(const AttentionCall& call, const KeyEstimate& keys, const Visibility& visibility,
              std::span<const ListRows> lists, const QuantizeKernel& quantize,
              const PilotDotKernel& pilot);

  /// Ranks of the keys for `list`, whose rows are all plain, by every `step`-th of its rows:
  /// row(0), as scores of a single row that sees what any of them sees. False as above.
  bool ranks(const AttentionCall& call, const KeyEstimate& keys, const Visibility& visibility,
             const ListRows& list, int64_t step, const QuantizeKernel& quantize,
             const PilotDotKernel& pilot, const SelectKernel& select);

  /// Scores of row i, counted through all lists: [stride()], of absolute keys keys.begin() + j.
  int16_t* row(int64_t i) { return scores_.data() + i * stride_; }
  /// Score units per logit of row i, and per log2 unit; 0 when all its scores are zero.
  double units_per_logit(int64_t i) const { return units_per_logit_.data()[i]; }
  double units_per_log2(int64_t i) const { return units_per_logit(i) * 0.6931471805599453; }
  /// Multiple of kScorePadding; what lies beyond the last key is hidden.
  int64_t stride() const { return stride_; }
  int64_t scratch_bytes() const;

 private:
  /// Which blocks of [first, first + blocks) the levels are taken from.
  struct Sample;

  void reserve_rows(int64_t max_rows, int64_t dim, const PilotDotKernel& pilot);
  bool prepare(const AttentionCall& call, const KeyEstimate& keys, std::span<const ListRows> lists,
               const QuantizeKernel& quantize, const PilotDotKernel& pilot);
  bool quantize_list(const AttentionCall& call, const ListRows& list, int64_t first,
                     const QuantizeKernel& quantize);
  void choose_factors(int64_t first, int64_t count, int64_t dim, bool negative);
  PilotTile score_tile(const KeyEstimate& keys, int64_t rows, int64_t dim) const;
  void hide(const Visibility& visibility, int64_t head, int64_t query_row, int64_t i,
            const KeyEstimate& keys);
  void score_sample(const Sample& sample, const KeyEstimate& keys, int64_t rows, int64_t dim,
                    const PilotDotKernel& pilot);
  void hide_in_sample(const Sample& sample, const Visibility& visibility, const ListRows& list,
                      const KeyEstimate& keys);
  /// Whether no share of the first `rows` rows can need clamping.
  bool shares_in_range(int64_t rows, int64_t dim) const;
  void set_level(const Sample& sample, const RowVisibility& seen, double slope, int64_t i,
                 const SelectKernel& select);

  int64_t stride_ = 0;
  int64_t sample_stride_ = 0;
  ScratchBuffer<int8_t> quantised_;        // [rows][dim]
  ScratchBuffer<std::byte> packed_;        // packed query rows
  ScratchBuffer<float> query_scale_;       // [rows]
  ScratchBuffer<float> row_factor_;        // [rows]
  ScratchBuffer<double> units_per_logit_;  // [rows]
  ScratchBuffer<float> slope_;             // [rows]
  ScratchBuffer<float> offset_;            // [rows]
  ScratchBuffer<int16_t> scores_;          // [rows][stride], or one row of ranks
  ScratchBuffer<int16_t> sample_;          // [rows][sample_stride]
};

}  // namespace shadowattn
