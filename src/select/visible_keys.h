// The list of a dense tile: every key that one of its rows sees.
#pragma once

#include "kernels/scratch.h"
#include "plan/list_rows.h"
#include "plan/visibility.h"
#include "select/token_lists.h"

namespace shadowattn {

/// One object per thread, reused.
class VisibleKeys {
 public:
  /// Grows the scratch so that `find` allocates nothing. Throws std::bad_alloc.
  void reserve(const Visibility& visibility) {
    if (!visibility.all_plain()) keys_.reserve(visibility.end() - visibility.begin());
  }

  /// Those of the keys [begin, end). A run where most keys of a run are seen, for reading a run is
  /// cheaper than picking keys. Valid until the next call.
  TokenList find(const Visibility& visibility, const ListRows& rows, KeyRange within);

  int64_t scratch_bytes() const { return keys_.bytes(); }

 private:
  ScratchBuffer<int32_t> keys_;
};

}  // namespace shadowattn
