// Pages of values: the mean of each, and how far from it each value is.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/keep/keep.h"
#include "kernels/scratch.h"
#include "plan/visibility.h"
#include "shadowattn/attention.h"
#include "shadowattn/executor.h"

namespace shadowattn {

/// Of all KV heads of a call, reused from call to call.
class ValuePages {
 public:
  /// Values outside `keys` are not read; page 0 begins with the first of them. Throws
  /// std::bad_alloc.
  void build(const AttentionCall& call, KeyRange keys, const KeepKernel& kernel,
             Executor& executor);

  /// [pages][value_dim]
  const float* mean(int64_t kv_head) const { return mean_.data() + kv_head * pages_ * value_dim_; }
  /// KeepPages::weight of all pages.
  const float* weight(int64_t kv_head) const {
    return weight_.data() + kv_head * pages_ * kKeepPage;
  }
  int64_t scratch_bytes() const { return mean_.bytes() + weight_.bytes(); }

 private:
  int64_t pages_ = 0;
  int64_t value_dim_ = 0;
  ScratchBuffer<float> mean_;    // [KV heads][pages][value_dim]
  ScratchBuffer<float> weight_;  // [KV heads][pages · kKeepPage]
};

}  // namespace shadowattn
