// Softmax shares of a few query rows over all keys, from logits of f32 operands.
//
//   share[r][j] = exp(s[r][j]) / (Σ_j exp(s[r][j]) + exp(sink))     s: scaled, soft-capped, biased
//
// The logits come from the kernels of exact attention, given values of no channels: what these
// leave in place of a block's logits are exp(s - m) with m the block's maximum.
#pragma once

#include <cstdint>

#include "kernels/attend/attend.h"
#include "kernels/scratch.h"
#include "plan/list_rows.h"
#include "plan/visibility.h"
#include "shadowattn/attention.h"

namespace shadowattn {

/// Rank of a key that no row of a list sees.
inline constexpr double kUnseen = -1.0;

/// Marks in rank[0 … count-1], of keys from `first_key` on, what the rows of a list see: 0, else
/// kUnseen. Returns how many of the rows see anything.
int64_t mark_seen(const Visibility& visibility, const ListRows& list, int64_t first_key,
                  int64_t count, double* rank);

/// One object per thread, reused. Holds rows × keys numbers: for few rows.
class SoftmaxShares {
 public:
  /// Grows the scratch so that `compute` allocates nothing. Throws std::bad_alloc.
  void reserve(int64_t rows, int64_t keys, int64_t dim, const AttendKernel& kernel);

  /// Of `rows`, all of one KV head, over the keys that they see between them.
  void compute(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
               const ListRows& rows, const AttendKernel& kernel);

  /// The keys of the last `compute`.
  const KeyRange& keys() const { return keys_; }

  /// rank[j], for all of keys(): mean share that key j has in the rows of `list`, which are among
  /// those of the last `compute`; kUnseen where none of them sees it. False when a logit is NaN or
  /// infinite: then there are no shares.
  bool ranks(const Visibility& visibility, const ListRows& list, double* rank) const;

  int64_t scratch_bytes() const;

 private:
  void load_queries(const AttentionCall& call);
  /// False when every row sees all of the keys, without a bias.
  bool fill_bias(const Visibility& visibility, int64_t first, int64_t count);
  /// From sums of blocks to what turns a block's weights into shares.
  void normalise(const AttentionCall& call);

  /// Flat index among the rows of `compute`.
  int64_t flat(int64_t head, int64_t row) const {
    return (row - rows_.rows.first) * rows_.heads + head - rows_.first_head;
  }

  ListRows rows_;
  KeyRange keys_;
  int64_t padded_rows_ = 0;
  ScratchBuffer<float> query_;   // [dim][padded rows]
  ScratchBuffer<float> key_;     // [kAttendBlock][dim]
  ScratchBuffer<float> bias_;    // [kAttendBlock][padded rows]
  ScratchBuffer<float> weight_;  // [blocks · kAttendBlock][padded rows]
  ScratchBuffer<float> max_;     // [blocks][padded rows]
  ScratchBuffer<float> sum_;     // the same; then the factor from weight to share, NaN for none
};

}  // namespace shadowattn
