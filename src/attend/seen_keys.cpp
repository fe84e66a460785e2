#include "attend/seen_keys.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace shadowattn {
namespace {

static_assert(kAttendBlock == kWordKeys);

/// The lowest `count` bits, 0 ≤ count ≤ 64.
uint64_t low_bits(int64_t count) { return count <= 0 ? 0 : ~uint64_t{0} >> (kWordKeys - count); }

}  // namespace

void SeenKeys::reserve(int64_t max_rows, int64_t keys, const Visibility& visibility) {
  slot_.reserve(max_rows);
  begin_.reserve(max_rows);
  end_.reserve(max_rows);
  if (visibility.all_plain()) return;
  const int64_t words = keys / kWordKeys + 2;  // a list may begin and end within a word
  words_.reserve(max_rows * words);
  list_words_.reserve(words);
  rank_.reserve(words);
}

void SeenKeys::start(const Visibility& visibility, const TokenList& list) {
  visibility_ = &visibility;
  list_ = list;
  blocks_ = (list.count + kAttendBlock - 1) / kAttendBlock;
  rows_ = slots_ = 0;
  marked_ = false;
  full_begin_ = 0;
  full_end_ = std::numeric_limits<int32_t>::max();
}

/// Position of the first key of the list that is not below `key`.
int32_t SeenKeys::position_of(int64_t key) const {
  if (list_.keys == nullptr) {
    return static_cast<int32_t>(std::clamp<int64_t>(key - list_.first, 0, list_.count));
  }
  return static_cast<int32_t>(std::lower_bound(list_.keys, list_.keys + list_.count, key) -
                              list_.keys);
}

void SeenKeys::mark_list() {
  marked_ = true;
  const int64_t base = list_.keys[0] / kWordKeys;
  const int64_t words = list_.keys[list_.count - 1] / kWordKeys - base + 1;
  std::fill_n(list_words_.data(), words, uint64_t{0});
  for (int64_t i = 0; i < list_.count; ++i) {
    const int64_t key = list_.keys[i];
    list_words_.data()[key / kWordKeys - base] |= uint64_t{1} << (key % kWordKeys);
  }
  int32_t rank = 0;
  for (int64_t w = 0; w < words; ++w) {
    rank_.data()[w] = rank;
    rank += std::popcount(list_words_.data()[w]);
  }
}

void SeenKeys::fill_words(int64_t head, int64_t row, uint64_t* words) const {
  for (int64_t b = 0; b < blocks_; ++b) {
    words[b] = low_bits(std::min(kAttendBlock, list_.count - b * kAttendBlock));
    if (list_.keys == nullptr) {
      words[b] &= visibility_->seen(head, row, list_.first + b * kAttendBlock);
    }
  }
  if (list_.keys == nullptr) return;
  const int64_t base = list_.keys[0] / kWordKeys;
  const int64_t last = list_.keys[list_.count - 1] / kWordKeys;
  for (int64_t w = base; w <= last; ++w) {
    const uint64_t mine = list_words_.data()[w - base];
    uint64_t hidden = mine & ~visibility_->seen(head, row, w * kWordKeys);
    for (; hidden != 0; hidden &= hidden - 1) {
      const uint64_t below = low_bits(std::countr_zero(hidden));
      const int64_t position = rank_.data()[w - base] + std::popcount(mine & below);
      words[position / kAttendBlock] &= ~(uint64_t{1} << (position % kAttendBlock));
    }
  }
}

void SeenKeys::add_row(int64_t head, int64_t row) {
  const RowVisibility& seen = visibility_->row(head, row);
  int32_t& begin = begin_.data()[slots_];
  int32_t& end = end_.data()[slots_];
  if (seen.plain || seen.visible == 0) {
    begin = position_of(seen.begin);
    end = std::max(position_of(seen.end), begin);
    full_begin_ = std::max(full_begin_, begin);
    full_end_ = std::min(full_end_, end);
  } else {
    begin = -1;
    full_end_ = 0;
    if (list_.keys != nullptr && !marked_ && list_.count > 0) mark_list();
    if (list_.count > 0) fill_words(head, row, words_.data() + slots_ * blocks_);
  }
  ++slots_;
}

void SeenKeys::add(const ListRows& rows) {
  for (int64_t i = 0; i < rows.count(); ++i) {
    const bool as_before = i > 0 && rows.row(i) == rows.row(i - 1) &&
                           visibility_->same_keys(rows.head(i), rows.head(i - 1));
    if (!as_before) add_row(rows.head(i), rows.row(i));
    slot_.data()[rows_++] = static_cast<int32_t>(slots_ - 1);
  }
}

BlockView SeenKeys::view(int64_t position, int64_t count, int64_t first_row, int64_t rows,
                         uint64_t* words, int64_t* pairs) const {
  if (full_begin_ <= position && full_end_ >= position + count) {
    *pairs += rows * count;
    return BlockView::kFull;
  }
  const uint64_t all = low_bits(count);
  uint64_t any = 0;
  uint64_t common = all;
  int64_t seen = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t slot = slot_.data()[first_row + i];
    if (i == 0 || slot != slot_.data()[first_row + i - 1]) {
      if (begin_.data()[slot] < 0) {
        words[i] = words_.data()[slot * blocks_ + position / kAttendBlock];
      } else {
        const int64_t begin = std::clamp<int64_t>(begin_.data()[slot] - position, 0, count);
        const int64_t end = std::clamp<int64_t>(end_.data()[slot] - position, begin, count);
        words[i] = low_bits(end) & ~low_bits(begin);
      }
    } else {
      words[i] = words[i - 1];
    }
    any |= words[i];
    common &= words[i];
    seen += std::popcount(words[i]);
  }
  *pairs += seen;
  if (common == all) return BlockView::kFull;
  return any == 0 ? BlockView::kNone : BlockView::kPartial;
}

}  // namespace shadowattn
