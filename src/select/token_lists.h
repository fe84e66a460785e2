// From the scores of a list's rows to the list: the most important keys, and those that are always
// in (sinks, recent tokens, each row's own).
#pragma once

#include <cstdint>

#include "kernels/scratch.h"
#include "kernels/select/select.h"
#include "pilot/score_rows.h"
#include "plan/list_rows.h"
#include "plan/visibility.h"
#include "shadowattn/engine.h"

namespace shadowattn {

/// Ascending absolute key indices: keys[0 … count-1], or first … first+count-1 when keys is null.
struct TokenList {
  const int32_t* keys = nullptr;
  int64_t first = 0;
  int64_t count = 0;

  int64_t key(int64_t position) const {
    return keys != nullptr ? keys[position] : first + position;
  }
  TokenList part(int64_t position, int64_t length) const {
    return keys != nullptr ? TokenList{keys + position, 0, length}
                           : TokenList{nullptr, first + position, length};
  }
};

/// Builds one list at a time. One object per thread, reused.
class TokenSelector {
 public:
  /// Grows the scratch so that `select` allocates nothing. Throws std::bad_alloc.
  void reserve(int64_t keys);

  /// The list of `list`'s rows. Valid until the next call. Keeps keep_count(options, v) keys, v the
  /// largest number of keys that one of the rows sees, and more when more are always in.
  /// `importance`: [padded_scores(n)] a rank per key from `first_key` on, hidden beyond n and
  /// where no row sees it; overwritten.
  TokenList select(const EngineOptions& options, const Visibility& visibility, const ListRows& list,
                   int64_t first_key, int16_t* importance, const SelectKernel& kernel);

  /// A rank per key from the scores of `list`'s rows, which are rows `first_row` and following of
  /// `scores`: the largest share of softmax mass that any of them gives it. For `select`.
  int16_t* merge(const Visibility& visibility, const ListRows& list, int64_t first_row,
                 const ScoreRows& scores, const SelectKernel& kernel);

  int64_t scratch_bytes() const { return importance_.bytes() + indices_.bytes(); }

 private:
  ScratchBuffer<int16_t> importance_;
  ScratchBuffer<int32_t> indices_;
};

}  // namespace shadowattn
