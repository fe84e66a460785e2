// The same attention as attend_lists.h with 16-bit operands (kernels/attend16/).
#pragma once

#include <cstdint>
#include <span>

#include "attend/far_field.h"
#include "attend/seen_keys.h"
#include "kernels/attend16/attend16.h"
#include "kernels/scratch.h"
#include "plan/list_rows.h"
#include "plan/visibility.h"
#include "select/token_lists.h"
#include "shadowattn/attention.h"

namespace shadowattn {

/// One object per thread, reused.
class ListAttender16 {
 public:
  /// As ListAttender::reserve.
  void reserve(int64_t max_rows, int64_t dim, int64_t value_dim, const Visibility& visibility);

  /// As ListAttender::attend, for any number of rows. `groups`: the rows of KV heads kv_head,
  /// kv_head + 1, …; they go through the list together, block by block, because the heads of one
  /// token lie side by side in a cache and come from memory together. `states`, when not null,
  /// takes group after group. False, with nothing useful written, when an operand is not finite or
  /// too large for 16 bits: then f32 must do. *pairs is added to.
  bool attend(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
              std::span<const ListRows> groups, const TokenList& list, const Attend16Kernel& kernel,
              int64_t* pairs, float* states = nullptr, const FarField* far = nullptr);

  int64_t scratch_bytes() const;

 private:
  /// Where the rows of one group begin in all arrays below.
  struct Group {
    const ListRows& rows;
    int64_t first = 0;
    int64_t kv_head = 0;
  };

  bool start(const AttentionCall& call, const Group& group, const Attend16Kernel& kernel);
  /// False when a finite bias is infinite in log2 units.
  bool fill_bias(const Visibility& visibility, const Group& group, const TokenList& run);
  bool attend_block(const AttentionCall& call, const Visibility& visibility, const Group& group,
                    const TokenList& run, int64_t position, const Attend16Kernel& kernel);
  void finish(const AttentionCall& call, const Group& group, float* states, const FarField* far);

  bool biased_ = false;  // something is added to the logits of some row
  int64_t pairs_ = 0;
  ScratchBuffer<int16_t> query_;     // [rows][dim]
  ScratchBuffer<float> query_step_;  // [rows]
  ScratchBuffer<int32_t> key_;       // one packed block
  ScratchBuffer<float> key_step_;    // [kAttendBlock]
  ScratchBuffer<int32_t> value_;     // one packed block
  SeenKeys seen_;
  ScratchBuffer<uint64_t> words_;  // [rows] of a block
  ScratchBuffer<float> bias_;      // [rows][kAttendBlock]
  ScratchBuffer<uint16_t> weights_;
  ScratchBuffer<float> max_;  // [rows]
  ScratchBuffer<float> sum_;  // [rows][kAttend16Lanes]
  ScratchBuffer<float> out_;  // [rows][value_dim]
};

}  // namespace shadowattn
