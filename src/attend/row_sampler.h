// What a query row lost by its token list, measured against its exact logits.
//
// With p = softmax over the keys that the row sees (a sink's logit in the sum), S its list, S* its
// |S| best keys:
//
//   lost   = 1 - Σ_{i∈S} p_i        recall = |S ∩ S*| / |S|        oracle lost = 1 - Σ_{i∈S*} p_i
//
// The output o = Σ p_i·v_i and that of the list, ô = Σ_{i∈S} p_i·v_i / (1 - lost), differ by
// ‖o - ô‖ ≤ 2 · lost · max_i ‖v_i‖: of o - ô = Σ_{i∉S} p_i·v_i - lost/(1 - lost) · Σ_{i∈S} p_i·v_i
// either sum is at most lost · max ‖v_i‖.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/attend/attend.h"
#include "plan/visibility.h"
#include "select/token_lists.h"
#include "shadowattn/attention.h"
#include "shadowattn/engine.h"

namespace shadowattn {

/// Whether a (query head, row) pair of a call is compared with exact attention: about one in so
/// many, the same for any number of threads.
bool is_sampled(const AttentionCall& call, int64_t head, int64_t row, int32_t sample_every);

/// One object per thread, reused.
class RowSampler {
 public:
  /// Compares `list`, of which the row has the keys that it sees, with all that it sees. Leaves
  /// estimated_lost at zero, and everything but `visible` where a logit is NaN or infinite. Throws
  /// std::bad_alloc.
  RowSample measure(const AttentionCall& call, const Visibility& visibility, int64_t head,
                    int64_t row, const TokenList& list, const AttendKernel& kernel);

  /// After `measure` of the row: squared distance of call.output's row from the exact one. 0 when
  /// a logit was NaN or infinite.
  double squared_error(const AttentionCall& call, int64_t head, int64_t row,
                       const AttendKernel& kernel);

  int64_t scratch_bytes() const;

 private:
  /// Exact logits of the keys that the row sees, and which these are.
  void gather_logits(const AttentionCall& call, const Visibility& visibility, int64_t head,
                     int64_t row, const AttendKernel& kernel);

  /// From logits to shares; false when one is NaN or infinite.
  bool normalise(const AttentionCall& call, int64_t head, const AttendKernel& kernel);

  // The best keys are found without sorting all: shares are counted in buckets of nearly equal
  // ones, and only the bucket in which a limit lies is sorted.
  struct Bucket {
    double mass = 0.0;
    int64_t count = 0;
  };
  struct Best {
    double mass = 0.0;
    int64_t count = 0;
    double smallest = 0.0;
  };
  void fill_buckets();
  void sort_bucket(int64_t bucket);
  /// The `count` best keys.
  Best best(int64_t count);
  /// How many of the best have at least this mass.
  int64_t fewest(double mass);

  bool finite_ = false;         // the logits of the last row
  std::vector<float> keys_;     // [kAttendBlock][dim]
  std::vector<float> query_;    // [dim]
  std::vector<int32_t> index_;  // keys seen
  std::vector<double> weight_;  // [keys seen] softmax shares
  std::vector<double> kept_;    // of those in the list
  std::vector<double> exact_;   // [value_dim]
  std::vector<Bucket> buckets_;
  std::vector<double> members_;  // of one bucket, largest first
};

}  // namespace shadowattn
