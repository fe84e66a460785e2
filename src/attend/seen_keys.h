// Which keys of a list each of the rows that attend to it sees, a block of the list at a time.
//
// Bit j of a word is key j of the block. A plain row sees a run of positions. Of other rows those
// keys are found that the list has and the row does not see, 64 keys of the cache at a time: rows
// of one sequence share a list, and few keys of it are hidden from any of them.
#pragma once

#include <cstdint>

#include "kernels/attend/attend.h"
#include "kernels/scratch.h"
#include "plan/list_rows.h"
#include "plan/visibility.h"
#include "select/token_lists.h"

namespace shadowattn {

/// What the rows see of a block.
enum class BlockView {
  kFull,     ///< every row all keys
  kPartial,  ///< as the words say
  kNone,     ///< no row any key
};

/// One object per thread, reused.
class SeenKeys {
 public:
  /// Grows the scratch so that nothing below allocates. `keys`: of a list and between the first and
  /// the last of one, at most. Throws std::bad_alloc.
  void reserve(int64_t max_rows, int64_t keys, const Visibility& visibility);

  /// For `list`, which must outlive the calls of `view`.
  void start(const Visibility& visibility, const TokenList& list);
  /// Rows that follow those added before.
  void add(const ListRows& rows);

  /// Of the block of `count` keys at `position` of the list, a multiple of kAttendBlock, for rows
  /// first_row … first_row + rows - 1: words[0 … rows - 1], only set when the result is kPartial.
  /// Adds to *pairs how many (row, key) pairs that are.
  BlockView view(int64_t position, int64_t count, int64_t first_row, int64_t rows, uint64_t* words,
                 int64_t* pairs) const;

  int64_t scratch_bytes() const {
    return slot_.bytes() + begin_.bytes() + end_.bytes() + words_.bytes() + list_words_.bytes() +
           rank_.bytes();
  }

 private:
  void mark_list();
  void add_row(int64_t head, int64_t row);
  void fill_words(int64_t head, int64_t row, uint64_t* words) const;
  int32_t position_of(int64_t key) const;

  const Visibility* visibility_ = nullptr;
  TokenList list_;
  int64_t blocks_ = 0;
  int64_t rows_ = 0;
  int64_t slots_ = 0;  // rows that differ in what they see
  bool marked_ = false;
  int32_t full_begin_ = 0;  // positions that every row sees, where all are plain
  int32_t full_end_ = 0;
  ScratchBuffer<int32_t> slot_;         // [rows]
  ScratchBuffer<int32_t> begin_;        // [slots] positions; -1: see words_
  ScratchBuffer<int32_t> end_;          // [slots]
  ScratchBuffer<uint64_t> words_;       // [slots][blocks]
  ScratchBuffer<uint64_t> list_words_;  // bits of the list's keys, by word of the cache
  ScratchBuffer<int32_t> rank_;         // [words of the cache] keys of the list before it
};

}  // namespace shadowattn
