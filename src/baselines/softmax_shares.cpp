#include "baselines/softmax_shares.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace shadowattn {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

int64_t blocks_of(int64_t keys) { return (keys + kAttendBlock - 1) / kAttendBlock; }

int64_t padded(int64_t rows, const AttendKernel& kernel) {
  return (rows + kernel.row_multiple - 1) / kernel.row_multiple * kernel.row_multiple;
}

}  // namespace

int64_t mark_seen(const Visibility& visibility, const ListRows& list, int64_t first_key,
                  int64_t count, double* rank) {
  std::fill_n(rank, count, kUnseen);
  int64_t rows = 0;
  KeyRange done{first_key, first_key};  // of plain rows: mostly the same but for a key or two
  for (int64_t i = 0; i < list.count(); ++i) {
    const int64_t head = list.head(i);
    const RowVisibility& seen = visibility.row(head, list.row(i));
    if (seen.visible == 0) continue;
    ++rows;
    if (seen.plain) {
      if (seen.begin >= done.begin && seen.end <= done.end) continue;
      std::fill(rank + seen.begin - first_key, rank + seen.end - first_key, 0.0);
      done = {seen.begin, seen.end};
      continue;
    }
    for (int64_t key = seen.begin; key < seen.end; ++key) {
      if (visibility.sees(head, list.row(i), key)) rank[key - first_key] = 0.0;
    }
  }
  return rows;
}

void SoftmaxShares::reserve(int64_t rows, int64_t keys, int64_t dim, const AttendKernel& kernel) {
  const int64_t width = padded(rows, kernel);
  const int64_t blocks = blocks_of(keys);
  query_.reserve(dim * width);
  key_.reserve(kAttendBlock * dim);
  bias_.reserve(kAttendBlock * width);
  weight_.reserve(blocks * kAttendBlock * width);
  max_.reserve(blocks * width);
  sum_.reserve(blocks * width);
}

int64_t SoftmaxShares::scratch_bytes() const {
  return query_.bytes() + key_.bytes() + bias_.bytes() + weight_.bytes() + max_.bytes() +
         sum_.bytes();
}

void SoftmaxShares::load_queries(const AttentionCall& call) {
  const int64_t dim = call.query.dim;
  float* query = query_.data();
  std::fill_n(query, dim * padded_rows_, 0.0F);
  for (int64_t i = 0; i < rows_.count(); ++i) {
    const auto* q = static_cast<const float*>(call.query.row(rows_.head(i), rows_.row(i)));
    for (int64_t d = 0; d < dim; ++d) query[d * padded_rows_ + i] = q[d] * call.scale;
  }
}

bool SoftmaxShares::fill_bias(const Visibility& visibility, int64_t first, int64_t count) {
  bool needed = false;
  for (int64_t i = 0; i < rows_.count() && !needed; ++i) {
    const RowVisibility& seen = visibility.row(rows_.head(i), rows_.row(i));
    needed = !seen.plain || first < seen.begin || first + count > seen.end;
  }
  if (!needed) return false;
  float* bias = bias_.data();
  std::fill_n(bias, count * padded_rows_, 0.0F);  // padding rows: any finite value
  for (int64_t i = 0; i < rows_.count(); ++i) {
    for (int64_t j = 0; j < count; ++j) {
      bias[j * padded_rows_ + i] = visibility.bias(rows_.head(i), rows_.row(i), first + j);
    }
  }
  return true;
}

void SoftmaxShares::compute(const AttentionCall& call, const Visibility& visibility,
                            int64_t kv_head, const ListRows& rows, const AttendKernel& kernel) {
  rows_ = rows;
  keys_ = visible_range(visibility, rows);
  keys_.begin = std::min(keys_.begin, keys_.end);
  padded_rows_ = padded(rows.count(), kernel);
  load_queries(call);
  const RowSource source{call.key.row(kv_head, 0), call.key.type, call.key.row_stride};
  const int64_t blocks = blocks_of(keys_.end - keys_.begin);
  std::fill_n(max_.data(), blocks * padded_rows_, kMinusInfinity);
  std::fill_n(sum_.data(), blocks * padded_rows_, 0.0F);
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t first = keys_.begin + b * kAttendBlock;
    AttendBlock block;
    block.keys = std::min(kAttendBlock, keys_.end - first);
    block.bias = fill_bias(visibility, first, block.keys) ? bias_.data() : nullptr;
    kernel.gather(source, nullptr, first, block.keys, call.key.dim, key_.data());
    block.query = query_.data();
    block.key = key_.data();
    block.rows = padded_rows_;
    block.dim = call.key.dim;
    block.logit_softcap = call.logit_softcap;
    block.logits = weight_.data() + b * kAttendBlock * padded_rows_;
    block.max = max_.data() + b * padded_rows_;
    block.sum = sum_.data() + b * padded_rows_;
    kernel.tile_block(block);
  }
  normalise(call);
}

void SoftmaxShares::normalise(const AttentionCall& call) {
  const int64_t blocks = blocks_of(keys_.end - keys_.begin);
  for (int64_t i = 0; i < rows_.count(); ++i) {
    const float* max = max_.data() + i;
    float* sum = sum_.data() + i;
    const double sink = call.sink_logits != nullptr ? call.sink_logits[rows_.head(i)]
                                                    : static_cast<double>(kMinusInfinity);
    double largest = sink;
    for (int64_t b = 0; b < blocks; ++b) {
      largest = std::max<double>(largest, max[b * padded_rows_]);
    }
    double total = 0.0;
    bool saw = false;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t at = b * padded_rows_;
      if (sum[at] == 0.0F) continue;  // nothing to be seen here, or only logits of -inf
      saw = true;
      total += sum[at] * std::exp(max[at] - largest);
    }
    if (sink != kMinusInfinity) total += std::exp(sink - largest);
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t at = b * padded_rows_;
      if (!saw) {
        sum[at] = 0.0F;
      } else if (!std::isfinite(total) || !std::isfinite(largest)) {
        sum[at] = kNan;
      } else {
        sum[at] = sum[at] == 0.0F ? 0.0F : static_cast<float>(std::exp(max[at] - largest) / total);
      }
    }
  }
}

bool SoftmaxShares::ranks(const Visibility& visibility, const ListRows& list, double* rank) const {
  const int64_t count = keys_.end - keys_.begin;
  const int64_t rows = mark_seen(visibility, list, keys_.begin, count, rank);
  for (int64_t i = 0; i < list.count(); ++i) {
    const int64_t r = flat(list.head(i), list.row(i));
    for (int64_t b = 0; b < blocks_of(count); ++b) {
      const float factor = sum_.data()[b * padded_rows_ + r];
      if (std::isnan(factor)) return false;
      if (factor == 0.0F) continue;
      const double mean = static_cast<double>(factor) / static_cast<double>(rows);
      const int64_t end = std::min(count, (b + 1) * kAttendBlock);
      for (int64_t j = b * kAttendBlock; j < end; ++j) {
        // A hidden key has a weight of zero.
        const float weight = weight_.data()[j * padded_rows_ + r];
        if (weight != 0.0F) rank[j] += weight * mean;
      }
    }
  }
  return true;
}

}  // namespace shadowattn
