// Exact attention of a few query rows to a list of keys in f32: gathers, masks, normalises, writes
// out.
#pragma once

#include <cstdint>

#include "attend/far_field.h"
#include "attend/seen_keys.h"
#include "kernels/attend/attend.h"
#include "kernels/scratch.h"
#include "plan/list_rows.h"
#include "plan/visibility.h"
#include "select/token_lists.h"
#include "shadowattn/attention.h"

namespace shadowattn {

/// Up to this many rows read keys and values where they lie; more share a gathered copy.
inline constexpr int64_t kRowPathLimit = 3;

/// One object per thread, reused.
class ListAttender {
 public:
  /// Grows the scratch so that `attend` allocates nothing for lists of keys that `visibility`
  /// knows. Throws std::bad_alloc.
  void reserve(int64_t max_rows, int64_t dim, int64_t value_dim, const Visibility& visibility,
               const AttendKernel& kernel);

  /// Every row of `rows` attends to those keys of `list` that it may see. Writes call.output, or,
  /// when `states` is not null, the rows' states (attend/row_state.h) there. `far`: what the rows
  /// get of other keys, or null. Returns how many (row, key) pairs that were.
  int64_t attend(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
                 const ListRows& rows, const TokenList& list, const AttendKernel& kernel,
                 float* states = nullptr, const FarField* far = nullptr);

  int64_t scratch_bytes() const;

 private:
  void start(const AttentionCall& call, const Visibility& visibility, const ListRows& rows,
             const AttendKernel& kernel);
  void fill_bias(const Visibility& visibility, const ListRows& rows, const TokenList& run);
  void tile_block(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
                  const ListRows& rows, const TokenList& run, BlockView view,
                  const AttendKernel& kernel);
  void row_block(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
                 const ListRows& rows, const TokenList& run, BlockView view,
                 const AttendKernel& kernel);
  void finish(const AttentionCall& call, const ListRows& rows, float* states, const FarField* far);

  int64_t padded_rows_ = 0;
  int64_t pairs_ = 0;
  bool biased_ = false;  // something is added to the logits of some row
  SeenKeys seen_;
  ScratchBuffer<uint64_t> words_;    // [rows] of a block
  ScratchBuffer<uint32_t> visible_;  // [2][padded rows]: the same for tile_block
  ScratchBuffer<float> query_;       // [dim][padded rows] or [rows][dim]
  ScratchBuffer<float> key_;         // [kAttendBlock][dim]
  ScratchBuffer<float> value_;       // [kAttendBlock][value_dim]
  ScratchBuffer<float> bias_;        // [kAttendBlock][padded rows]
  ScratchBuffer<float> logits_;      // [kAttendBlock][padded rows]
  ScratchBuffer<float> max_;         // [padded rows]
  ScratchBuffer<float> sum_;         // [padded rows]
  ScratchBuffer<float> out_;         // [padded rows][value_dim]
};

}  // namespace shadowattn
