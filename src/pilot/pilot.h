// The pilot: an INT8 estimate of Q·Kᵀ, on the CPU.
//
// Keys are quantised and packed once per call and KV head (KeyEstimates), queries once per tile.
// With q8, k8 the INT8 rows and q_scale, k_scale their scales,
//
//   q·k ≈ q_scale[r] · k_scale[j] · (q8[r] · k8[j]) + q·m
//
// where m is what was subtracted from all keys (pilot/key_mean.h): logits are known but for a
// constant of the row, which softmax does not see.
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
// scores are in registers, so it needs the levels first (pilot/row_levels.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/project/project.h"
#include "kernels/quantize/quantize.h"
#include "kernels/scratch.h"
#include "kernels/select/select.h"
#include "pilot/key_mean.h"
#include "pilot/row_levels.h"
#include "pilot/score_basis.h"
#include "pilot/score_rows.h"
#include "plan/list_rows.h"
#include "shadowattn/attention.h"
#include "shadowattn/executor.h"

namespace shadowattn {

/// Rows of TileEstimate::shares are padded to a multiple.
inline constexpr int64_t kShareRows = 16;

/// Quantised, packed keys [begin, end) of one KV head.
class KeyEstimate {
 public:
  /// False when a key holds a NaN or an infinity: then no estimate is to be had.
  bool finite() const { return finite_; }

  /// Absolute index of the first key of block 0.
  int64_t begin() const { return begin_; }
  int64_t end() const { return end_; }
  /// Packed block `block`.
  const std::byte* packed(int64_t block) const { return packed_.data() + block * block_bytes_; }
  /// k_scale / k_max per key, zero in the padding.
  const float* factors() const { return scales_.data(); }
  /// k_max: the largest scale of the keys.
  float largest_scale() const { return largest_scale_; }
  /// Largest ‖k‖² of the quantised keys.
  double largest_norm2() const { return largest_norm2_; }
  /// Of keys for shares: the directions that they are given in.
  const ScoreBasis& basis() const { return basis_; }
  int64_t scratch_bytes() const;

 private:
  friend class KeyEstimates;

  void reserve(KeyRange keys, int64_t dim, const PilotDotKernel& pilot);
  /// Sums up what the chunks came to and makes factors of their scales.
  void finish();

  int64_t begin_ = 0;
  int64_t end_ = 0;
  int64_t block_bytes_ = 0;
  float largest_scale_ = 0.0F;
  double largest_norm2_ = 0.0;
  bool finite_ = false;
  const float* subtracted_ = nullptr;  // the mean of the keys, or nothing
  KeyMean mean_;
  ScoreBasis basis_;
  ScratchBuffer<std::byte> packed_;  // [blocks] packed blocks
  ScratchBuffer<float> scales_;      // [blocks · kPilotKeyBlock]
  ScratchBuffer<double> norm2_;      // [chunks] the largest of each; infinite: not finite
};

/// Those of all KV heads of a call, reused from call to call.
class KeyEstimates {
 public:
  /// For the KV heads `wanted` of a call; keys outside `keys` are not read. Every chunk of keys of
  /// every head is a task of its own. Throws std::bad_alloc.
  void build(const AttentionCall& call, std::span<const int64_t> wanted, KeyRange keys,
             const QuantizeKernel& quantize, const PilotDotKernel& pilot, Executor& executor);

  /// For TileEstimate::shares: of all KV heads, in the directions of a basis and with seven bits.
  void build_for_shares(const AttentionCall& call, KeyRange keys, const PilotDotKernel& pilot,
                        const AttendKernel& attend, const ProjectKernel& project,
                        Executor& executor);

  const KeyEstimate& head(int64_t kv_head) const { return heads_[static_cast<size_t>(kv_head)]; }
  int64_t scratch_bytes() const;

 private:
  void quantize_chunks(const AttentionCall& call, std::span<const int64_t> wanted,
                       const QuantizeKernel& quantize, const PilotDotKernel& pilot,
                       Executor& executor);

  std::vector<KeyEstimate> heads_;               // [KV heads]
  std::vector<ScratchBuffer<int8_t>> chunk_;     // per thread: one chunk of unpacked keys
  std::vector<ScratchBuffer<float>> projected_;  // the same before rounding
};

/// What the rows of one tile make of the keys. One object per thread, reused.
class TileEstimate {
 public:
  /// Grows the scratch so that `scores` or `ranks` allocates nothing. Throws std::bad_alloc.
  void reserve_scores(int64_t max_rows, int64_t dim, int64_t keys, const PilotDotKernel& pilot);
  void reserve_ranks(int64_t max_rows, int64_t dim, int64_t keys, const PilotDotKernel& pilot);

  /// Scores for the rows of `lists` (all of one KV head). Keys that a row does not see become
  /// kHiddenScore. False when a query row holds a NaN or an infinity.
  bool scores(const AttentionCall& call, const KeyEstimate& keys, const Visibility& visibility,
              std::span<const ListRows> lists, const QuantizeKernel& quantize,
              const PilotDotKernel& pilot);

  /// Ranks of the keys for `list`, none of whose rows is biased, by every `step`-th of its rows:
  /// row(0), as scores of a single row that sees what any of them sees. False as above.
  bool ranks(const AttentionCall& call, const KeyEstimate& keys, const Visibility& visibility,
             const ListRows& list, int64_t step, const QuantizeKernel& quantize,
             const PilotDotKernel& pilot, const SelectKernel& select);

  /// After `ranks` of the same list and step: only the rows that see a key give it mass
  /// (RowLevels::leave_out_unseen).
  void leave_out_unseen(const Visibility& visibility, const ListRows& list, int64_t step);

  void reserve_shares(int64_t max_rows, int64_t dim, int64_t keys, const PilotDotKernel& pilot);

  /// The softmax shares of the rows of `list`, of one head, none of which is biased, by keys that
  /// were built for shares: ShareRows below. whole[b]
  /// is not 0 when every row sees every key of block b of `keys`. False when a query row holds a
  /// NaN or an infinity, or logits are out of all proportion.
  bool shares(const AttentionCall& call, const KeyEstimate& keys, const Visibility& visibility,
              const ListRows& list, std::span<const uint8_t> whole, const ProjectKernel& project,
              const PilotDotKernel& pilot);

  /// What `shares` left: half[row · stride + j] of key first_block · kPilotKeyBlock + j after the
  /// first of the keys, 0 where the row does not see it. Row i's share has this upper half, times
  /// factor[i]. Up to the next multiple of kShareRows there are rows of zeros.
  struct ShareRows {
    const uint16_t* half;
    int64_t stride;
    int64_t first_block;
    const float* factor;
  };
  ShareRows share_rows() const {
    return {shares_.data(), stride_, first_block_, share_factor_.data()};
  }

  /// Variance of the error of a logit, at most, of the rows that `scores` or `ranks` had last:
  /// pilot/estimate_error.h.
  double error_variance() const { return error_variance_; }

  /// Of `scores`: rows counted through all lists; of `ranks`: row 0 alone.
  ScoreRows rows() { return {scores_.data(), stride_, first_key_, units_per_logit_.data()}; }
  int64_t scratch_bytes() const;

 private:
  void reserve_rows(int64_t max_rows, int64_t dim, const PilotDotKernel& pilot);
  bool prepare(const AttentionCall& call, const KeyEstimate& keys, std::span<const ListRows> lists,
               const QuantizeKernel& quantize, const PilotDotKernel& pilot);
  bool quantize_list(const AttentionCall& call, const ListRows& list, int64_t first,
                     const QuantizeKernel& quantize);
  void choose_factors(int64_t first, int64_t count, int64_t dim, bool negative);
  PilotTile score_tile(const KeyEstimate& keys, int64_t rows, int64_t dim) const;
  void score_sample(const KeySample& sample, const KeyEstimate& keys, int64_t rows, int64_t dim,
                    const PilotDotKernel& pilot);
  /// Whether no share of the first `rows` rows can need clamping.
  bool shares_in_range(int64_t rows, int64_t dim) const;

  /// The list's queries in the keys' directions, rounded and packed.
  bool project_queries(const AttentionCall& call, const KeyEstimate& keys, const ListRows& list,
                       const ProjectKernel& project, const PilotDotKernel& pilot);
  void share_blocks(const KeyEstimate& keys, int64_t rows, int64_t dim, KeyRange blocks,
                    float* total, const PilotDotKernel& pilot);
  /// Clears what rows do not see of the blocks, and adds what they do see to total[row][0].
  void hide_shares(const Visibility& visibility, const ListRows& list, KeyRange blocks,
                   float* total);
  /// Offsets that bring the shares of the first and the last keys into the range of floats.
  void guess_levels(const KeyEstimate& keys, const Visibility& visibility, const ListRows& list,
                    int64_t dim, int64_t end_block, const PilotDotKernel& pilot);
  bool set_factors(const Visibility& visibility, const ListRows& list);

  int64_t stride_ = 0;
  int64_t first_key_ = 0;
  int64_t key_begin_ = 0;
  int64_t first_block_ = 0;
  double error_variance_ = 0.0;
  KeySample sample_;
  RowLevels levels_;
  ScratchBuffer<int8_t> quantised_;        // [rows][dim]
  ScratchBuffer<std::byte> packed_;        // packed query rows
  ScratchBuffer<float> query_scale_;       // [rows]
  ScratchBuffer<float> row_factor_;        // [rows]
  ScratchBuffer<double> units_per_logit_;  // [rows]
  ScratchBuffer<float> projected_;         // [rows][dim]
  ScratchBuffer<float> share_slope_;       // [rows]
  ScratchBuffer<float> share_offset_;      // [rows]
  ScratchBuffer<float> share_factor_;      // [rows]
  ScratchBuffer<float> share_total_;       // [rows][kShareLanes]
  ScratchBuffer<float> unseen_total_;      // [rows][kShareLanes] that nobody reads
  ScratchBuffer<uint16_t> shares_;         // [rows][stride]
  ScratchBuffer<int16_t> scores_;          // [rows][stride], or one row of ranks
};

}  // namespace shadowattn
