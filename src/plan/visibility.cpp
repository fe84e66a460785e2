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
bool nonzero(uint16_t half) { return (half & 0x7FFFU) != 0; }
bool nonzero(float value) { return value != 0.0F; }  // true for NaN

/// Whether all bits of [begin, end) are zero: every key is visible and nothing is added. One pass
/// that the compiler vectorises; -0 counts as not plain, which is slower, not wrong.
template <typename Element>
bool all_zero(const Element* mask, int64_t begin, int64_t end) {
  using Bits = std::conditional_t<sizeof(Element) == 2, uint16_t, uint32_t>;
  Bits any = 0;
  for (int64_t j = begin; j < end; ++j) any |= std::bit_cast<Bits>(mask[j]);
  return any == 0;
}

template <typename Element>
RowVisibility scan_mask(const Element* mask, int64_t keys) {
  RowVisibility row;
  int64_t begin = 0;
  int64_t end = keys;
  while (begin < end && hidden(mask[begin])) ++begin;
  if (begin == end) return row;
  while (hidden(mask[end - 1])) --end;
  row.begin = static_cast<int32_t>(begin);
  row.end = static_cast<int32_t>(end);
  if (all_zero(mask, begin, end)) {
    row.visible = row.end - row.begin;
    row.plain = true;
    return row;
  }
  int64_t visible = 0;
  bool biased = false;
  for (int64_t j = begin; j < end; ++j) {
    const bool seen = !hidden(mask[j]);
    visible += seen ? 1 : 0;
    biased = biased | (seen & nonzero(mask[j]));
  }
  row.visible = static_cast<int32_t>(visible);
  row.plain = !biased && visible == end - begin;
  return row;
}

struct RowDifference {
  int64_t count = 0;        // keys seen by exactly one of the two rows
  int64_t last_added = -1;  // last key seen by the row and not by the one before
};

template <typename Element>
RowDifference compare_rows(const Element* before, const Element* row, int64_t keys) {
  RowDifference difference;
  for (int64_t j = 0; j < keys; ++j) {
    if (hidden(before[j]) == hidden(row[j])) continue;
    ++difference.count;
    if (!hidden(row[j])) difference.last_added = j;
  }
  return difference;
}

}  // namespace

Visibility::Visibility(const AttentionCall& call, Executor& executor)
    : call_(call),
      query_rows_(call.query.rows),
      mask_heads_(call.mask.kind == MaskKind::kAdditive ? call.mask.additive.heads : 1),
      keys_(call.key.rows),
      rows_(static_cast<size_t>(mask_heads_ * query_rows_)) {
  constexpr int64_t kRowsPerTask = 64;
  const int64_t tasks_per_head = (query_rows_ + kRowsPerTask - 1) / kRowsPerTask;
  const auto for_each_row = [&](void (Visibility::*step)(int64_t, int64_t)) {
    executor.run(mask_heads_ * tasks_per_head, [&, step](int64_t task, int) {
      const int64_t head = task / tasks_per_head;
      const int64_t first = task % tasks_per_head * kRowsPerTask;
      const int64_t last = std::min(first + kRowsPerTask, query_rows_);
      for (int64_t i = first; i < last; ++i) (this->*step)(head, i);
    });
  };
  for_each_row(&Visibility::scan_row);
  for_each_row(&Visibility::link_row);

  // The first row of a sequence learns its own token from the row after it.
  for (size_t i = 0; i < rows_.size(); ++i) {
    RowVisibility& row = rows_[i];
    if (call.mask.kind != MaskKind::kAdditive || row.own >= 0 || row.visible == 0) continue;
    row.own = row.end - 1;
    const bool last = (i + 1) % static_cast<size_t>(query_rows_) == 0;
    if (last || !rows_[i + 1].continues || rows_[i + 1].own < 1) continue;
    const int64_t head = static_cast<int64_t>(i) / query_rows_;
    const int64_t index = static_cast<int64_t>(i) % query_rows_;
    const int32_t guess = rows_[i + 1].own - 1;
    if (sees(head, index, guess)) row.own = guess;
  }

  begin_ = std::numeric_limits<int32_t>::max();
  for (const RowVisibility& row : rows_) {
    if (row.visible == 0) continue;
    all_plain_ = all_plain_ && row.plain;
    begin_ = std::min(begin_, row.begin);
    end_ = std::max(end_, row.end);
    max_visible_ = std::max(max_visible_, row.visible);
  }
  if (max_visible_ == 0) begin_ = end_ = 0;
}

void Visibility::scan_row(int64_t mask_head, int64_t index) {
  RowVisibility& row = rows_[static_cast<size_t>(mask_head * query_rows_ + index)];
  const Mask& mask = call_.mask;
  if (mask.kind == MaskKind::kAdditive) {
    const void* data = mask.additive.row(mask_head, index);
    row = mask.additive.type == ElementType::kF16
              ? scan_mask(static_cast<const uint16_t*>(data), keys_)
              : scan_mask(static_cast<const float*>(data), keys_);
    return;
  }
  const bool causal = mask.kind == MaskKind::kCausal;
  const int64_t end =
      causal ? std::clamp<int64_t>(index + mask.causal_offset + 1, 0, keys_) : keys_;
  row.end = static_cast<int32_t>(end);
  row.visible = row.end;
  row.plain = true;
  row.continues = index > 0;
  if (causal && end > 0) row.own = row.end - 1;
}

void Visibility::link_row(int64_t mask_head, int64_t index) {
  if (call_.mask.kind != MaskKind::kAdditive || index == 0) return;
  RowVisibility& row = rows_[static_cast<size_t>(mask_head * query_rows_ + index)];
  const RowVisibility& before = (&row)[-1];
  if (row.visible == 0 || before.visible == 0) return;
  if (row.plain && before.plain && row.end == before.end + 1 &&
      (row.begin == before.begin || row.begin == before.begin + 1)) {
    row.continues = true;
    row.own = row.end - 1;
    return;
  }
  const TensorView& mask = call_.mask.additive;
  const void* a = mask.row(mask_head, index - 1);
  const void* b = mask.row(mask_head, index);
  const RowDifference difference =
      mask.type == ElementType::kF16
          ? compare_rows(static_cast<const uint16_t*>(a), static_cast<const uint16_t*>(b), keys_)
          : compare_rows(static_cast<const float*>(a), static_cast<const float*>(b), keys_);
  if (difference.count > 2) return;
  row.continues = true;
  row.own = static_cast<int32_t>(difference.last_added);
}

Cover Visibility::cover(int64_t head, int64_t index, const int32_t* keys, int64_t first,
                        int64_t count) const {
  const RowVisibility& r = row(head, index);
  if (!r.plain) return Cover::kPartial;
  const int64_t low = keys != nullptr ? keys[0] : first;
  const int64_t high = keys != nullptr ? keys[count - 1] : first + count - 1;
  if (low >= r.begin && high < r.end) return Cover::kFull;
  return high < r.begin || low >= r.end ? Cover::kHidden : Cover::kPartial;
}

float Visibility::bias(int64_t head, int64_t index, int64_t key) const {
  const RowVisibility& r = row(head, index);
  if (key < r.begin || key >= r.end) return kMinusInfinity;
  if (r.plain) return 0.0F;
  const TensorView& mask = call_.mask.additive;
  const void* data = mask.row(head % mask_heads_, index);
  const float value = mask.type == ElementType::kF16
                          ? half_to_float(static_cast<const uint16_t*>(data)[key])
                          : static_cast<const float*>(data)[key];
  if (value == kMinusInfinity || call_.mask.slopes == nullptr) return value;
  return call_.mask.slopes[head] * value;
}

bool Visibility::sees(int64_t head, int64_t index, int64_t key) const {
  return bias(head, index, key) != kMinusInfinity;
}

}  // namespace shadowattn
