#include "plan/visibility.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <type_traits>

#include "kernels/half.h"

namespace shadowattn {
namespace {

constexpr uint16_t kHalfMinusInfinity = 0xFC00;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

bool hidden(uint16_t half) { return half == kHalfMinusInfinity; }
bool hidden(float value) { return value == kMinusInfinity; }

float to_float(uint16_t half) { return half_to_float(half); }
float to_float(float value) { return value; }

/// Calls step(pointer to the row's elements), of the type that the mask has.
template <typename Step>
auto with_row(const TensorView& mask, int64_t head, int64_t index, const Step& step) {
  const void* data = mask.row(head, index);
  return mask.type == ElementType::kF16 ? step(static_cast<const uint16_t*>(data))
                                        : step(static_cast<const float*>(data));
}

template <typename Element>
using BitsOf = std::conditional_t<sizeof(Element) == 2, uint16_t, uint32_t>;

/// Whether all bits of [begin, end) are zero: every key is visible and nothing is added. One pass
/// that the compiler vectorises; -0 counts as not plain, which is slower, not wrong.
template <typename Element>
bool all_zero(const Element* mask, int64_t begin, int64_t end) {
  BitsOf<Element> any = 0;
  for (int64_t j = begin; j < end; ++j) any |= std::bit_cast<BitsOf<Element>>(mask[j]);
  return any == 0;
}

template <typename Element>
RowVisibility scan_ends(const Element* mask, int64_t keys) {
  RowVisibility row;
  int64_t begin = 0;
  int64_t end = keys;
  while (begin < end && hidden(mask[begin])) ++begin;
  if (begin == end) return row;
  while (hidden(mask[end - 1])) --end;
  row.begin = static_cast<int32_t>(begin);
  row.end = static_cast<int32_t>(end);
  row.plain = all_zero(mask, begin, end);
  if (row.plain) row.visible = row.end - row.begin;
  return row;
}

/// A word of bits, set where the key is visible. `biased` is set when a visible one is not ±0.
template <typename Element>
uint64_t visible_word(const Element* mask, bool* biased) {
  using Bits = BitsOf<Element>;
  uint8_t flags[kWordKeys];  // loops that the compiler vectorises
  Bits any = 0;
  for (int64_t j = 0; j < kWordKeys; ++j) {
    const bool seen = !hidden(mask[j]);
    flags[j] = seen ? 1 : 0;
    any |= seen ? std::bit_cast<Bits>(mask[j]) : Bits{0};
  }
  constexpr Bits kSign = Bits{1} << (8 * sizeof(Bits) - 1);
  *biased = *biased || (any & static_cast<Bits>(~kSign)) != 0;
  uint64_t word = 0;
  for (int64_t byte = 0; byte < 8; ++byte) {
    uint64_t eight = 0;
    for (int64_t j = 0; j < 8; ++j) eight |= uint64_t{flags[8 * byte + j]} << (8 * j);
    // Eight bytes of 0 or 1 to eight bits: byte i is shifted to bit 56 + i.
    word |= (eight * 0x0102040810204080U >> 56) << (8 * byte);
  }
  return word;
}

template <typename Element>
bool visible_words(const Element* mask, int64_t keys, uint64_t* words) {
  bool biased = false;
  int64_t first = 0;
  for (; first + kWordKeys <= keys; first += kWordKeys) {
    *words++ = visible_word(mask + first, &biased);
  }
  if (first == keys) return biased;
  Element tail[kWordKeys];
  for (int64_t j = 0; j < kWordKeys; ++j) {
    if constexpr (sizeof(Element) == 2) {
      tail[j] = first + j < keys ? mask[first + j] : kHalfMinusInfinity;
    } else {
      tail[j] = first + j < keys ? mask[first + j] : kMinusInfinity;
    }
  }
  *words = visible_word(tail, &biased);
  return biased;
}

}  // namespace

template <typename Step>
void Visibility::for_each_row(Executor& executor, const Step& step) {
  constexpr int64_t kRowsPerTask = 64;
  const int64_t tasks_per_head = (query_rows_ + kRowsPerTask - 1) / kRowsPerTask;
  executor.run(mask_heads_ * tasks_per_head, [&](int64_t task, int) {
    const int64_t head = task / tasks_per_head;
    const int64_t first = task % tasks_per_head * kRowsPerTask;
    const int64_t last = std::min(first + kRowsPerTask, query_rows_);
    for (int64_t i = first; i < last; ++i) step(head, i);
  });
}

Visibility::Visibility(const AttentionCall& call, Executor& executor)
    : mask_(call.mask),
      query_rows_(call.query.rows),
      mask_heads_(call.mask.kind == MaskKind::kAdditive ? call.mask.additive.heads : 1),
      keys_(call.key.rows),
      rows_(static_cast<size_t>(mask_heads_ * query_rows_)) {
  for_each_row(executor, [this](int64_t head, int64_t i) { scan_row(head, i); });
  for (const RowVisibility& row : rows_) all_plain_ = all_plain_ && (row.plain || row.end == 0);
  if (!all_plain_) {
    words_ = (keys_ + kWordKeys - 1) / kWordKeys;
    bits_.resize(rows_.size() * static_cast<size_t>(words_));
    for_each_row(executor, [this](int64_t head, int64_t i) { count_row(head, i); });
  }
  if (mask_.kind == MaskKind::kAdditive) {
    for_each_row(executor, [this](int64_t head, int64_t i) { link_row(head, i); });
    for (size_t i = 0; i < rows_.size(); ++i) find_own(i);
  }

  begin_ = std::numeric_limits<int32_t>::max();
  all_plain_ = true;
  for (const RowVisibility& row : rows_) {
    if (row.visible == 0) continue;
    all_plain_ = all_plain_ && row.plain;
    any_biased_ = any_biased_ || row.biased;
    begin_ = std::min(begin_, row.begin);
    end_ = std::max(end_, row.end);
    max_visible_ = std::max(max_visible_, row.visible);
  }
  if (max_visible_ == 0) begin_ = end_ = 0;
}

void Visibility::scan_row(int64_t mask_head, int64_t index) {
  RowVisibility& row = rows_[at(mask_head, index)];
  if (mask_.kind == MaskKind::kAdditive) {
    row = with_row(mask_.additive, mask_head, index,
                   [this](const auto* mask) { return scan_ends(mask, keys_); });
    return;
  }
  const bool causal = mask_.kind == MaskKind::kCausal;
  const int64_t end =
      causal ? std::clamp<int64_t>(index + mask_.causal_offset + 1, 0, keys_) : keys_;
  row.end = static_cast<int32_t>(end);
  row.visible = row.end;
  row.plain = true;
  row.continues = index > 0;
  if (causal && end > 0) row.own = row.end - 1;
}

void Visibility::count_row(int64_t mask_head, int64_t index) {
  RowVisibility& row = rows_[at(mask_head, index)];
  if (row.plain || row.end == 0) return;
  uint64_t* words = bits_.data() + at(mask_head, index) * static_cast<size_t>(words_);
  row.biased = with_row(mask_.additive, mask_head, index,
                        [&](const auto* mask) { return visible_words(mask, keys_, words); });
  int64_t visible = 0;
  for (int64_t w = 0; w < words_; ++w) visible += std::popcount(words[w]);
  row.visible = static_cast<int32_t>(visible);
  row.plain = !row.biased && visible == row.end - row.begin;  // of zeros and negative zeros
}

/// Whether a row goes on with the sequence of the row before, and which key is its own.
void Visibility::link_row(int64_t mask_head, int64_t index) {
  if (index == 0) return;
  RowVisibility& row = rows_[at(mask_head, index)];
  const RowVisibility& before = (&row)[-1];
  if (row.visible == 0 || before.visible == 0) return;
  if (row.plain && before.plain && row.end == before.end + 1 &&
      (row.begin == before.begin || row.begin == before.begin + 1)) {
    row.continues = true;
    row.own = row.end - 1;
    return;
  }
  int64_t differences = 0;
  int64_t last_added = -1;
  const int64_t first = std::min(row.begin, before.begin) / kWordKeys * kWordKeys;
  for (int64_t key = first; key < std::max(row.end, before.end); key += kWordKeys) {
    const uint64_t now = seen(mask_head, index, key);
    const uint64_t added = now & ~seen(mask_head, index - 1, key);
    differences += std::popcount(now ^ seen(mask_head, index - 1, key));
    if (differences > 2) return;
    if (added != 0) last_added = key + 63 - std::countl_zero(added);
  }
  row.continues = true;
  row.own = static_cast<int32_t>(last_added);
}

/// The first row of a sequence learns its own token from the row after it.
void Visibility::find_own(size_t i) {
  RowVisibility& row = rows_[i];
  if (row.own >= 0 || row.visible == 0) return;
  row.own = row.end - 1;
  const bool last = (i + 1) % static_cast<size_t>(query_rows_) == 0;
  if (last || !rows_[i + 1].continues || rows_[i + 1].own < 1) return;
  const int64_t head = static_cast<int64_t>(i) / query_rows_;
  const int64_t index = static_cast<int64_t>(i) % query_rows_;
  const int32_t guess = rows_[i + 1].own - 1;
  if (sees(head, index, guess)) row.own = guess;
}

uint64_t Visibility::seen(int64_t head, int64_t index, int64_t first) const {
  const RowVisibility& r = row(head, index);
  if (first >= r.end || first + kWordKeys <= r.begin) return 0;
  uint64_t word = ~uint64_t{0};
  if (!r.plain) {
    const uint64_t* words = bits_.data() + at(head, index) * static_cast<size_t>(words_);
    const auto part = [&](int64_t w) { return w >= 0 && w < words_ ? words[w] : uint64_t{0}; };
    const int64_t w = first >= 0 ? first / kWordKeys : -1;
    const int64_t shift = first - w * kWordKeys;
    word = part(w) >> shift;
    if (shift > 0) word |= part(w + 1) << (kWordKeys - shift);
    return word;
  }
  if (r.begin > first) word &= ~uint64_t{0} << (r.begin - first);
  if (r.end < first + kWordKeys) word &= ~uint64_t{0} >> (first + kWordKeys - r.end);
  return word;
}

float Visibility::bias(int64_t head, int64_t index, int64_t key) const {
  const RowVisibility& r = row(head, index);
  if (key < r.begin || key >= r.end) return kMinusInfinity;
  if (r.plain) return 0.0F;
  if (!r.biased) return sees(head, index, key) ? 0.0F : kMinusInfinity;
  float value = 0.0F;
  mask_values(head, index, nullptr, key, 1, &value);
  return scaled_bias(value, slope(head));
}

void Visibility::mask_values(int64_t head, int64_t index, const int32_t* keys, int64_t first,
                             int64_t count, float* values) const {
  with_row(mask_.additive, head % mask_heads_, index, [&](const auto* mask) {
    if (keys == nullptr) {
      for (int64_t j = 0; j < count; ++j) values[j] = to_float(mask[first + j]);
    } else {
      for (int64_t j = 0; j < count; ++j) values[j] = to_float(mask[keys[j]]);
    }
  });
}

bool Visibility::still_holds(const AttentionCall& call) const {
  const TensorView& now = call.mask.additive;
  const TensorView& then = mask_.additive;
  if (call.mask.kind != MaskKind::kAdditive || mask_.kind != MaskKind::kAdditive) return false;
  if (call.query.rows != query_rows_ || call.key.rows != keys_ || now.data != then.data ||
      now.type != then.type || now.heads != then.heads || now.head_stride != then.head_stride ||
      now.row_stride != then.row_stride ||
      (call.mask.slopes == nullptr) != (mask_.slopes == nullptr)) {
    return false;
  }
  for (int64_t head = 0; head < mask_heads_; ++head) {
    for (int64_t i = 0; i < query_rows_; ++i) {
      const RowVisibility& r = row(head, i);
      const bool same = with_row(now, head, i, [&](const auto* mask) {
        if (r.visible == 0) return hidden(mask[0]) && hidden(mask[keys_ - 1]);
        return !hidden(mask[r.begin]) && !hidden(mask[r.end - 1]) &&
               (r.begin == 0 || hidden(mask[r.begin - 1])) &&
               (r.end == keys_ || hidden(mask[r.end]));
      });
      if (!same) return false;
    }
  }
  return true;
}

}  // namespace shadowattn
