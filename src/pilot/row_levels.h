// What a share of a row's softmax mass is measured against: its log-sum, from a sample of the keys.
//
//   share[r][j] = 2^(logit2[r][j] - level[r]),   level[r] = log2 Σ_j 2^logit2[r][j]
//
// A list for several rows ranks a key by the sum of its shares, so levels are needed before the
// scores are turned into ranks. A row whose peak the sample misses has too low a level, which makes
// its own peak and neighbours rank higher, never lower; KeyRanks::most_mass (select/token_lists.h)
// keeps it from drowning the peaks of other rows.
#pragma once

#include <cstdint>

#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/scratch.h"
#include "kernels/select/select.h"
#include "plan/list_rows.h"

namespace shadowattn {

/// Which blocks of kPilotKeyBlock keys the levels are taken from: the first and the last ones whole
/// (sinks and neighbours hold most of the mass), of those between them every kStride-th pair. In
/// the buffer they follow each other in this order.
struct KeySample {
  static constexpr int64_t kStride = 16;
  static constexpr int64_t kPair = 2;          ///< blocks sampled together: what the kernels like
  static constexpr int64_t kFirstBlocks = 2;   ///< sinks
  static constexpr int64_t kLastBlocks = 8;    ///< the recent tokens, and the rows' own
  static constexpr int64_t kWholeBlocks = 16;  ///< so few are sampled whole

  int64_t first_block = 0;
  int64_t blocks = 0;

  bool whole() const { return blocks <= kWholeBlocks; }
  int64_t end_blocks() const { return whole() ? blocks : kFirstBlocks + kLastBlocks; }
  int64_t middle_blocks() const { return blocks - end_blocks(); }
  int64_t pairs() const {
    constexpr int64_t kStep = kPair * kStride;
    return whole() ? 0 : (middle_blocks() - kPair + kStep) / kStep;
  }
  int64_t end_keys() const { return end_blocks() * kPilotKeyBlock; }
  int64_t middle_keys() const { return pairs() * kPair * kPilotKeyBlock; }
  /// How many keys of the middle one sampled key stands for.
  double weight() const {
    return pairs() == 0
               ? 0.0
               : static_cast<double>(middle_blocks()) / static_cast<double>(pairs() * kPair);
  }

  /// Where the scores of a block lie in the buffer, in keys; -1: it is not sampled, or only some of
  /// its neighbours are.
  int64_t position_of(int64_t block) const {
    const int64_t relative = block - first_block;
    if (relative < 0 || relative >= blocks) return -1;
    if (whole() || relative < kFirstBlocks) return relative * kPilotKeyBlock;
    const int64_t from_last = relative - (blocks - kLastBlocks);
    return from_last < 0 ? -1 : (kFirstBlocks + from_last) * kPilotKeyBlock;
  }

  /// step(first block, blocks, position in the buffer in keys) for every run.
  template <typename Step>
  void for_each_run(const Step& step) const {
    if (whole()) {
      step(first_block, blocks, int64_t{0});
      return;
    }
    step(first_block, kFirstBlocks, int64_t{0});
    step(first_block + blocks - kLastBlocks, kLastBlocks, kFirstBlocks * kPilotKeyBlock);
    const int64_t middle = padded_scores(end_keys());
    for (int64_t i = 0; i < pairs(); ++i) {
      step(first_block + kFirstBlocks + i * kPair * kStride, kPair,
           middle + i * kPair * kPilotKeyBlock);
    }
  }
};

/// The levels of a list's rows, as straight lines from scores to the bits of shares:
/// bits = score · slope + offset (kernels/pilot_dot/pilot_dot.h). One object per thread, reused.
class RowLevels {
 public:
  /// Grows the scratch so that nothing below allocates. Throws std::bad_alloc.
  void reserve(int64_t max_rows, int64_t keys);

  /// Where the sampled scores of row i are to be written: [stride()].
  int16_t* sample(int64_t i) { return sample_.data() + i * stride_; }
  int64_t stride() const { return stride_; }

  /// Hides what the rows do not see in the sampled scores, whose block 0 begins at `first_key`.
  void hide(const KeySample& sample, const Visibility& visibility, const ListRows& list,
            int64_t first_key);

  /// Level of row i, whose scores are `units_per_log2` to a factor of two (0: all are zero).
  /// `slope`: of the line above, 2^23 · log2 units per score unit.
  void set(const KeySample& sample, const RowVisibility& seen, double units_per_log2, double slope,
           int64_t i, const SelectKernel& select);

  /// Where the ends of what the rows see differ, a key has a rank from rows that do not see it.
  /// Its share may be anything (a token may look like the answer to one before it), and would count
  /// as mass. Such keys get their ranks anew, from the rows that see them. `row_factor`: [rows]
  /// score units per unit of the slope's.
  void leave_out_unseen(const KeySample& sample, const Visibility& visibility, const ListRows& list,
                        int64_t first_key, const float* row_factor, int16_t* rank);

  const float* slope() const { return slope_.data(); }    ///< [rows]
  const float* offset() const { return offset_.data(); }  ///< [rows]
  /// Whether row i's bits stay in [0, kRankCap] for scores of at most this magnitude.
  bool in_range(int64_t i, double largest_score) const;
  int64_t scratch_bytes() const { return sample_.bytes() + slope_.bytes() + offset_.bytes(); }

 private:
  int64_t stride_ = 0;
  ScratchBuffer<int16_t> sample_;  // [rows][stride]
  ScratchBuffer<float> slope_;     // [rows]
  ScratchBuffer<float> offset_;    // [rows]
};

}  // namespace shadowattn
