// Exact attention of a few query rows to a list of keys: gathers, masks, normalises, writes out.
#pragma once

#include <cstdint>

#include "kernels/attend/attend.h"
#include "kernels/scratch.h"
#include "pilot/pilot.h"
#include "plan/visibility.h"
#include "select/token_lists.h"
#include "shadowattn/attention.h"

namespace shadowattn {

/// One object per thread, reused.
class ListAttender {
 public:
  /// Grows the scratch so that the calls below allocate nothing. Throws std::bad_alloc.
  void reserve(int64_t max_rows, int64_t dim, int64_t value_dim, const AttendKernel& kernel);

  /// Writes call.output for every row of `rows`: each attends to those keys of `list` that it may
  /// see. Returns how many (row, key) pairs that were.
  int64_t attend(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
                 const ListRows& rows, const TokenList& list, const AttendKernel& kernel);

  /// The same with every key that a row may see.
  int64_t attend_all(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
                     const ListRows& rows, const AttendKernel& kernel);

 private:
  /// Keys keys[0 … count-1], or first … first+count-1 when keys is null; count ≤ kAttendBlock.
  struct KeyRun {
    const int32_t* keys = nullptr;
    int64_t first = 0;
    int64_t count = 0;
  };

  void start(const AttentionCall& call, const ListRows& rows, const AttendKernel& kernel);
  /// False when no row sees any of the keys. *needed: whether the bias must be applied.
  bool fill_bias(const Visibility& visibility, const ListRows& rows, const KeyRun& run,
                 int64_t stride, bool* needed);
  void tile_block(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
                  const ListRows& rows, const KeyRun& run, const AttendKernel& kernel);
  void row_block(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
                 const ListRows& rows, const KeyRun& run, const AttendKernel& kernel);
  void finish(const AttentionCall& call, const ListRows& rows);

  int64_t padded_rows_ = 0;
  int64_t pairs_ = 0;
  ScratchBuffer<float> query_;   // [dim][padded rows] or [rows][dim]
  ScratchBuffer<float> key_;     // [kAttendBlock][dim]
  ScratchBuffer<float> value_;   // [kAttendBlock][value_dim]
  ScratchBuffer<float> bias_;    // [kAttendBlock][padded rows]
  ScratchBuffer<float> logits_;  // [kAttendBlock][padded rows]
  ScratchBuffer<float> max_;     // [padded rows]
  ScratchBuffer<float> sum_;     // [padded rows]
  ScratchBuffer<float> out_;     // [padded rows][value_dim]
};

}  // namespace shadowattn
