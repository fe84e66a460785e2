// An estimate by blocks: a query's score with the mean of a block's keys stands for each of them.
//
//   s[r][b] = cap(scale · q[r] · mean_{j∈b} k[j]) + mean_{j∈b} bias[r][j]
//   share[r][j] = exp(s[r][b]) / (Σ_b n[r][b] · exp(s[r][b]) + exp(sink))     for each key j of b
//
// n[r][b]: keys of the block that the row sees. The mean is over the keys that some row of the list
// sees: neither later tokens nor other sequences leak into it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/attend/attend.h"
#include "plan/list_rows.h"
#include "plan/visibility.h"
#include "shadowattn/attention.h"
#include "shadowattn/executor.h"

namespace shadowattn {

/// Keys per block; blocks begin at multiples of it.
inline constexpr int64_t kBlockKeys = 64;
static_assert(kBlockKeys <= kAttendBlock);

/// Mean keys of one KV head's blocks, over all keys that the call reads. Shared by threads.
class BlockMeans {
 public:
  /// Throws std::bad_alloc.
  void reserve(const AttentionCall& call, const Visibility& visibility, int threads);
  void compute(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
               const AttendKernel& kernel, Executor& executor);

  const double* mean(int64_t block) const { return means_.data() + (block - first_block_) * dim_; }

  int64_t scratch_bytes() const;

 private:
  int64_t dim_ = 0;
  int64_t first_block_ = 0;
  std::vector<double> means_;             // [blocks][dim]
  std::vector<std::vector<float>> keys_;  // of a thread: [kAttendBlock][dim]
};

/// One object per thread, reused.
class BlockShares {
 public:
  /// Throws std::bad_alloc.
  void reserve(int64_t keys, int64_t dim);

  /// rank[0 … count-1], of the keys from keys.begin to keys.end, all that the list's rows see: mean
  /// share over its rows, kUnseen where none sees it (baselines/softmax_shares.h). False when a
  /// score is NaN or infinite.
  bool ranks(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
             const ListRows& list, const KeyRange& keys, const BlockMeans& means,
             const AttendKernel& kernel, double* rank);

  int64_t scratch_bytes() const;

 private:
  struct RowBlock {
    double score = 0.0;
    int64_t keys = 0;  ///< that the row sees
  };

  /// Mean of those keys of a block that are marked as seen in `rank`; nullptr when there are none.
  const double* mean_of_seen(const AttentionCall& call, int64_t kv_head, int64_t block,
                             const KeyRange& keys, const Visibility& visibility,
                             const BlockMeans& means, const AttendKernel& kernel,
                             const double* rank);
  /// Adds a row's shares to `rank`, divided by `rows`.
  bool add_row(const AttentionCall& call, const Visibility& visibility, int64_t head, int64_t row,
               const KeyRange& keys, double rows, double* rank);

  std::vector<const double*> block_mean_;  // [blocks of the list]; null: nothing seen
  std::vector<double> own_;                // means that are of this list alone
  std::vector<RowBlock> row_;              // [blocks of the list]
  std::vector<float> keys_;                // [kAttendBlock][dim]
};

}  // namespace shadowattn
