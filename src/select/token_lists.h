// From the scores of a list's rows to the list: the most important keys, and those that are always
// in (sinks, recent tokens, each row's own).
#pragma once

#include <cstdint>

#include "kernels/scratch.h"
#include "kernels/select/select.h"
#include "pilot/pilot.h"
#include "plan/visibility.h"
#include "shadowattn/engine.h"

namespace shadowattn {

/// Ascending absolute key indices.
struct TokenList {
  const int32_t* keys = nullptr;
  int64_t count = 0;
};

/// Builds one list at a time. One object per thread, reused.
class TokenSelector {
 public:
  /// Grows the scratch so that `select` allocates nothing. Throws std::bad_alloc.
  void reserve(int64_t keys);

  /// The list of `list`'s rows, whose scores are rows `first_row` and following of `estimate`
  /// (and may be overwritten). Valid until the next call. Keeps keep_count(options, v) keys, v the
  /// largest number of keys that one of the rows sees, and more when more are always in.
  TokenList select(const EngineOptions& options, const Visibility& visibility, const ListRows& list,
                   int64_t first_row, const KeyEstimate& keys, TileEstimate& estimate,
                   const SelectKernel& kernel);

 private:
  ScratchBuffer<int16_t> importance_;
  ScratchBuffer<int32_t> indices_;
};

}  // namespace shadowattn
