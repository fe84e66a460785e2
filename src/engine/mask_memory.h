// Masks that were read: the layers of a model see the same ones in one batch, a model with sliding
// windows two of them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "plan/visibility.h"

namespace shadowattn {

class MaskMemory {
 public:
  /// What the rows of `call` may see; valid until the next call. Masks with an id (Mask::id) are
  /// kept. Throws std::bad_alloc.
  const Visibility& read(const AttentionCall& call, Executor& executor) {
    const uint64_t id = call.mask.id;
    for (Entry& entry : entries_) {
      if (id == 0 || entry.id != id || !entry.seen || !entry.seen->still_holds(call)) continue;
      entry.seen->rebind(call);
      return *entry.seen;
    }
    Entry& entry = entries_[next_];
    next_ = (next_ + 1) % entries_.size();
    entry.seen.emplace(call, executor);
    entry.id = id;
    return *entry.seen;
  }

 private:
  struct Entry {
    uint64_t id = 0;
    std::optional<Visibility> seen;
  };

  std::array<Entry, 2> entries_;
  size_t next_ = 0;
};

}  // namespace shadowattn
