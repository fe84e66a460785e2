#include "attend/attend_lists.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "attend/row_state.h"

namespace shadowattn {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

RowSource source(const TensorView& view, int64_t head) {
  return {view.row(head, 0), view.type, view.row_stride};
}

}  // namespace

void ListAttender::reserve(int64_t max_rows, int64_t dim, int64_t value_dim,
                           const AttendKernel& kernel) {
  const int64_t rows =
      (max_rows + kernel.row_multiple - 1) / kernel.row_multiple * kernel.row_multiple;
  query_.reserve(rows * dim);
  key_.reserve(kAttendBlock * dim);
  value_.reserve(kAttendBlock * value_dim);
  bias_.reserve(kAttendBlock * rows);
  logits_.reserve(kAttendBlock * rows);
  max_.reserve(rows);
  sum_.reserve(rows);
  out_.reserve(rows * value_dim);
}

int64_t ListAttender::scratch_bytes() const {
  return query_.bytes() + key_.bytes() + value_.bytes() + bias_.bytes() + logits_.bytes() +
         max_.bytes() + sum_.bytes() + out_.bytes();
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
  full_begin_ = 0;
  full_end_ = std::numeric_limits<int64_t>::max();
  for (int64_t i = 0; i < count; ++i) {
    const auto* q = static_cast<const float*>(call.query.row(rows.head(i), rows.row(i)));
    for (int64_t d = 0; d < dim; ++d) {
      query[by_row ? i * dim + d : d * padded_rows_ + i] = q[d] * call.scale;
    }
    const RowVisibility& seen = visibility.row(rows.head(i), rows.row(i));
    full_begin_ = std::max<int64_t>(full_begin_, seen.begin);
    full_end_ = seen.plain ? std::min<int64_t>(full_end_, seen.end) : 0;
  }
  std::fill_n(max_.data(), padded_rows_, kMinusInfinity);
  std::fill_n(sum_.data(), padded_rows_, 0.0F);
  std::fill_n(out_.data(), padded_rows_ * call.value.dim, 0.0F);
  pairs_ = 0;
}

bool ListAttender::fill_bias(const Visibility& visibility, const ListRows& rows,
                             const TokenList& run, bool* needed) {
  *needed = run.key(0) < full_begin_ || run.key(run.count - 1) >= full_end_;
  if (!*needed) {
    pairs_ += rows.count() * run.count;
    return true;
  }
  float* bias = bias_.data();
  std::fill_n(bias, run.count * padded_rows_, 0.0F);  // padding rows: any finite value
  int64_t visible = 0;
  for (int64_t i = 0; i < rows.count(); ++i) {
    const int64_t head = rows.head(i);
    const int64_t row = rows.row(i);
    if (i > 0 && row == rows.row(i - 1) && visibility.same_for(head, rows.head(i - 1))) {
      for (int64_t j = 0; j < run.count; ++j) {
        const float b = bias[j * padded_rows_ + i - 1];
        bias[j * padded_rows_ + i] = b;
        visible += b != kMinusInfinity ? 1 : 0;
      }
      continue;
    }
    for (int64_t j = 0; j < run.count; ++j) {
      const float b = visibility.bias(head, row, run.key(j));
      bias[j * padded_rows_ + i] = b;
      visible += b != kMinusInfinity ? 1 : 0;
    }
  }
  pairs_ += visible;
  return visible > 0;
}

void ListAttender::tile_block(const AttentionCall& call, const Visibility& visibility,
                              int64_t kv_head, const ListRows& rows, const TokenList& run,
                              const AttendKernel& kernel) {
  bool biased = false;
  if (!fill_bias(visibility, rows, run, &biased)) return;
  kernel.gather(source(call.key, kv_head), run.keys, run.first, run.count, call.key.dim,
                key_.data());
  AttendBlock block;
  block.values_finite = kernel.gather(source(call.value, kv_head), run.keys, run.first, run.count,
                                      call.value.dim, value_.data());
  block.query = query_.data();
  block.key = key_.data();
  block.value = value_.data();
  block.bias = biased ? bias_.data() : nullptr;
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
                             const AttendKernel& kernel) {
  bool biased = false;
  if (!fill_bias(visibility, rows, run, &biased)) return;
  int32_t consecutive[kAttendBlock];
  float bias[kAttendBlock];
  AttendRow row;
  row.key = source(call.key, kv_head);
  row.value = source(call.value, kv_head);
  row.index = run.keys;
  if (run.keys == nullptr) {
    std::iota(consecutive, consecutive + run.count, static_cast<int32_t>(run.first));
    row.index = consecutive;
  }
  row.keys = run.count;
  row.dim = call.key.dim;
  row.value_dim = call.value.dim;
  row.logit_softcap = call.logit_softcap;
  for (int64_t i = 0; i < rows.count(); ++i) {
    if (biased) {
      for (int64_t j = 0; j < run.count; ++j) bias[j] = bias_.data()[j * padded_rows_ + i];
      row.bias = bias;
    }
    row.query = query_.data() + i * row.dim;
    row.max = max_.data() + i;
    row.sum = sum_.data() + i;
    row.out = out_.data() + i * row.value_dim;
    kernel.row_list(row);
  }
}

void ListAttender::finish(const AttentionCall& call, const ListRows& rows, float* states) {
  const int64_t value_dim = call.value.dim;
  for (int64_t i = 0; i < rows.count(); ++i) {
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
                             const AttendKernel& kernel, float* states) {
  start(call, visibility, rows, kernel);
  const bool by_row = rows.count() <= kRowPathLimit;
  for (int64_t first = 0; first < list.count; first += kAttendBlock) {
    const TokenList run = list.part(first, std::min(kAttendBlock, list.count - first));
    if (by_row) {
      row_block(call, visibility, kv_head, rows, run, kernel);
    } else {
      tile_block(call, visibility, kv_head, rows, run, kernel);
    }
  }
  finish(call, rows, states);
  return pairs_;
}

}  // namespace shadowattn
