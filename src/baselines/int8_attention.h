// Attention the way an NPU with static INT8 graphs computes it: one scale per tensor, fixed
// beforehand, for queries, keys, values and logits.
//
//   q8 = r(q / a)   k8 = r(k / b)   v8 = r(v / c)          r: round to nearest even, clip to ±127
//   s8 = r(scale · a · b · Σ_d q8·k8 / e)                  exact INT32 sums
//   p  = softmax(cap(e · s8) + bias)                       f32
//   o  = c / 127 · Σ_j r(127 · p[j]) · v8[j]               exact INT32 sums
//
// The scales of a layer are such that nothing of its first call is clipped (absmax / 127, of what
// some row sees), and stay: whatever is larger later is clipped. Calls of no known layer
// (AttentionCall::layer) have scales of their own.
#pragma once

#include <cstdint>
#include <vector>

#include "baselines/baseline_worker.h"
#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/scratch.h"
#include "shadowattn/executor.h"

namespace shadowattn {

class Int8Attention {
 public:
  /// Computes call.output; adds what each thread did to its worker's counters. Rows that see a NaN
  /// or an infinity are computed densely in f32. Throws std::bad_alloc.
  void attend(const BaselineCall& context, Executor& executor,
              std::vector<BaselineWorker>& workers);

  int64_t scratch_bytes() const;

 private:
  /// Of one layer; 0 for a tensor of zeros.
  struct Scales {
    int32_t layer = -1;
    int64_t heads = 0;
    int64_t kv_heads = 0;
    int64_t dim = 0;
    int64_t value_dim = 0;
    double query = 0.0;
    double key = 0.0;
    double value = 0.0;
    double logit = 0.0;
    float logit_factor = 0.0F;  ///< from an INT32 sum to an INT8 logit
  };

  /// What one thread needs for one query row of all heads of a KV head.
  struct Row {
    ScratchBuffer<float> query;      // [dim]
    ScratchBuffer<int8_t> q8;        // [heads][dim]
    ScratchBuffer<uint8_t> packed;   // of pilot_dot
    ScratchBuffer<float> factor;     // [heads]
    ScratchBuffer<int16_t> logit;    // [heads][padded keys]
    ScratchBuffer<float> weight;     // [keys]
    ScratchBuffer<int32_t> sum;      // [value_dim]
    ScratchBuffer<int32_t> nonzero;  // [keys] keys whose quantised weight is not zero
    ScratchBuffer<float> gathered;   // [kAttendBlock][dim or value_dim]
    int64_t largest = 0;             // |Σ_d q8·k8| so far
  };

  void reserve(const BaselineCall& context, Executor& executor);
  Scales measure(const BaselineCall& context, Executor& executor);
  double largest_seen(const BaselineCall& context, const TensorView& tensor,
                      const std::vector<double>& seen);
  void quantize_keys(const BaselineCall& context, int64_t kv_head, Executor& executor);
  /// False when one of the row's queries is not finite.
  bool quantize_queries(const BaselineCall& context, int64_t kv_head, int64_t row, Row& scratch);
  /// logit[h][j] = r(factor · Σ_d q8·k8), still unclipped.
  void score(const BaselineCall& context, float factor, Row& scratch);
  void find_largest_sum(const BaselineCall& context, int64_t kv_head, int64_t row, Row& scratch);
  bool sees_nonfinite(const BaselineCall& context, int64_t kv_head, int64_t row) const;
  void attend_row(const BaselineCall& context, int64_t kv_head, int64_t row, Row& scratch,
                  BaselineWorker& worker);
  /// Softmax and values of one head; false when the logits leave the range of f32.
  bool finish_head(const BaselineCall& context, int64_t head, int64_t row, const int16_t* logit,
                   Row& scratch, BaselineWorker& worker);

  std::vector<Scales> known_;  // of layers
  Scales scales_;              // of the call at hand
  std::vector<Row> rows_;      // [threads]
  int64_t blocks_ = 0;         // of pilot_dot
  int64_t block_bytes_ = 0;
  ScratchBuffer<int8_t> k8_;         // [keys][dim]
  ScratchBuffer<uint8_t> packed_;    // the same as pilot_dot wants it
  ScratchBuffer<int8_t> v8_;         // [keys][value_dim]
  ScratchBuffer<float> key_factor_;  // ones
  std::vector<uint8_t> nonfinite_;   // [keys] of key or value
  bool any_nonfinite_ = false;
};

}  // namespace shadowattn
