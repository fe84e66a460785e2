#include "attend/attend_lists.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "attend/biased_rows.h"
#include "attend/row_state.h"

namespace shadowattn {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

RowSource source(const TensorView& view, int64_t head) {
  return {view.row(head, 0), view.type, view.row_stride};
}

}  // namespace

void ListAttender::reserve(int64_t max_rows, int64_t dim, int64_t value_dim,
                           const Visibility& visibility, const AttendKernel& kernel) {
  const int64_t rows =
      (max_rows + kernel.row_multiple - 1) / kernel.row_multiple * kernel.row_multiple;
  seen_.reserve(max_rows, visibility.end() - visibility.begin(), visibility);
  words_.reserve(rows);
  visible_.reserve(2 * rows);
  query_.reserve(rows * dim);
  key_.reserve(kAttendBlock * dim);
  value_.reserve(kAttendBlock * value_dim);
  if (visibility.any_biased()) bias_.reserve(kAttendBlock * rows);
  logits_.reserve(kAttendBlock * rows);
  max_.reserve(rows);
  sum_.reserve(rows);
  out_.reserve(rows * value_dim);
}

int64_t ListAttender::scratch_bytes() const {
  return seen_.scratch_bytes() + words_.bytes() + visible_.bytes() + query_.bytes() + key_.bytes() +
         value_.bytes() + bias_.bytes() + logits_.bytes() + max_.bytes() + sum_.bytes() +
         out_.bytes();
}

void ListAttender::start(const AttentionCall& call, const Visibility& visibility,
                         const ListRows& rows, const AttendKernel& kernel) {
  const int64_t count = rows.count();
  const int64_t dim = call.query.dim;
  const bool by_row = count <= kRowPathLimit;
  padded_rows_ =
      by_row ? count
             : (count + kernel.row_multiple - 1) / kernel.row_multiple * kernel.row_multiple;
  float* query = query_.data();
  if (!by_row) std::fill_n(query, dim * padded_rows_, 0.0F);
  biased_ = false;
  for (int64_t i = 0; i < count; ++i) {
    const auto* q = static_cast<const float*>(call.query.row(rows.head(i), rows.row(i)));
    for (int64_t d = 0; d < dim; ++d) {
      query[by_row ? i * dim + d : d * padded_rows_ + i] = q[d] * call.scale;
    }
    biased_ = biased_ || visibility.row(rows.head(i), rows.row(i)).biased;
  }
  std::fill_n(max_.data(), padded_rows_, kMinusInfinity);
  std::fill_n(sum_.data(), padded_rows_, 0.0F);
  std::fill_n(out_.data(), padded_rows_ * call.value.dim, 0.0F);
  pairs_ = 0;
}

/// [keys][padded rows]
void ListAttender::fill_bias(const Visibility& visibility, const ListRows& rows,
                             const TokenList& run) {
  float* bias = bias_.data();
  std::fill_n(bias, run.count * padded_rows_, 0.0F);  // padding rows: any finite value
  for_each_biased_row(visibility, rows, run, [&](int64_t i, const float* values, float slope) {
    for (int64_t j = 0; j < run.count; ++j) {
      bias[j * padded_rows_ + i] = Visibility::scaled_bias(values[j], slope);
    }
  });
}

void ListAttender::tile_block(const AttentionCall& call, const Visibility& visibility,
                              int64_t kv_head, const ListRows& rows, const TokenList& run,
                              BlockView view, const AttendKernel& kernel) {
  kernel.gather(source(call.key, kv_head), run.keys, run.first, run.count, call.key.dim,
                key_.data());
  AttendBlock block;
  block.values_finite = kernel.gather(source(call.value, kv_head), run.keys, run.first, run.count,
                                      call.value.dim, value_.data());
  if (biased_) {
    fill_bias(visibility, rows, run);
    block.bias = bias_.data();
  }
  if (view == BlockView::kPartial) {
    for (int64_t i = 0; i < padded_rows_; ++i) {  // padding rows see all
      const uint64_t word = i < rows.count() ? words_.data()[i] : ~uint64_t{0};
      visible_.data()[i] = static_cast<uint32_t>(word);
      visible_.data()[padded_rows_ + i] = static_cast<uint32_t>(word >> 32);
    }
    block.visible = visible_.data();
  }
  block.query = query_.data();
  block.key = key_.data();
  block.value = value_.data();
  block.rows = padded_rows_;
  block.keys = run.count;
  block.dim = call.key.dim;
  block.value_dim = call.value.dim;
  block.logit_softcap = call.logit_softcap;
  block.logits = logits_.data();
  block.max = max_.data();
  block.sum = sum_.data();
  block.out = out_.data();
  kernel.tile_block(block);
}

void ListAttender::row_block(const AttentionCall& call, const Visibility& visibility,
                             int64_t kv_head, const ListRows& rows, const TokenList& run,
                             BlockView view, const AttendKernel& kernel) {
  int32_t index[kAttendBlock];
  float bias[kAttendBlock];
  AttendRow row;
  row.key = source(call.key, kv_head);
  row.value = source(call.value, kv_head);
  row.index = index;
  row.dim = call.key.dim;
  row.value_dim = call.value.dim;
  row.logit_softcap = call.logit_softcap;
  for (int64_t i = 0; i < rows.count(); ++i) {
    const uint64_t seen =
        view == BlockView::kPartial ? words_.data()[i] : ~uint64_t{0} >> (kAttendBlock - run.count);
    row.keys = 0;
    for (uint64_t left = seen; left != 0; left &= left - 1) {
      const int64_t key = run.key(std::countr_zero(left));
      if (biased_) bias[row.keys] = visibility.bias(rows.head(i), rows.row(i), key);
      index[row.keys++] = static_cast<int32_t>(key);
    }
    if (row.keys == 0) continue;
    row.bias = biased_ ? bias : nullptr;
    row.query = query_.data() + i * row.dim;
    row.max = max_.data() + i;
    row.sum = sum_.data() + i;
    row.out = out_.data() + i * row.value_dim;
    kernel.row_list(row);
  }
}

void ListAttender::finish(const AttentionCall& call, const ListRows& rows, float* states,
                          const FarField* far) {
  const int64_t value_dim = call.value.dim;
  for (int64_t i = 0; i < rows.count(); ++i) {
    if (far != nullptr) far->add(i, value_dim, sum_.data() + i, out_.data() + i * value_dim);
    const RowState state{max_.data()[i], sum_.data()[i], out_.data() + i * value_dim};
    if (states != nullptr) {
      store_state(state, value_dim, states + i * state_floats(value_dim));
    } else {
      finish_row(call, rows.head(i), rows.row(i), state);
    }
  }
}

int64_t ListAttender::attend(const AttentionCall& call, const Visibility& visibility,
                             int64_t kv_head, const ListRows& rows, const TokenList& list,
                             const AttendKernel& kernel, float* states, const FarField* far) {
  start(call, visibility, rows, kernel);
  seen_.start(visibility, list);
  seen_.add(rows);
  const bool by_row = rows.count() <= kRowPathLimit;
  for (int64_t first = 0; first < list.count; first += kAttendBlock) {
    const TokenList run = list.part(first, std::min(kAttendBlock, list.count - first));
    const BlockView view = seen_.view(first, run.count, 0, rows.count(), words_.data(), &pairs_);
    if (view == BlockView::kNone) continue;
    if (by_row) {
      row_block(call, visibility, kv_head, rows, run, view, kernel);
    } else {
      tile_block(call, visibility, kv_head, rows, run, view, kernel);
    }
  }
  finish(call, rows, states, far);
  return pairs_;
}

}  // namespace shadowattn
