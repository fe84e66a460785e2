#include "baselines/block_shares.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "baselines/softmax_shares.h"

namespace shadowattn {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

int64_t blocks_between(int64_t begin, int64_t end) {
  return end > begin ? (end - 1) / kBlockKeys - begin / kBlockKeys + 1 : 0;
}

RowSource source(const AttentionCall& call, int64_t kv_head) {
  return {call.key.row(kv_head, 0), call.key.type, call.key.row_stride};
}

/// The part of a block that lies in `keys`.
KeyRange part_of(int64_t block, const KeyRange& keys) {
  return {std::max(block * kBlockKeys, keys.begin), std::min((block + 1) * kBlockKeys, keys.end)};
}

}  // namespace

void BlockMeans::reserve(const AttentionCall& call, const Visibility& visibility, int threads) {
  dim_ = call.key.dim;
  first_block_ = visibility.begin() / kBlockKeys;
  means_.resize(static_cast<size_t>(blocks_between(visibility.begin(), visibility.end()) * dim_));
  keys_.resize(static_cast<size_t>(threads));
  for (std::vector<float>& keys : keys_) keys.resize(static_cast<size_t>(kAttendBlock * dim_));
}

void BlockMeans::compute(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
                         const AttendKernel& kernel, Executor& executor) {
  const KeyRange all{visibility.begin(), visibility.end()};
  executor.run(blocks_between(all.begin, all.end), [&](int64_t index, int thread) {
    const KeyRange part = part_of(first_block_ + index, all);
    float* keys = keys_[static_cast<size_t>(thread)].data();
    kernel.gather(source(call, kv_head), nullptr, part.begin, part.end - part.begin, dim_, keys);
    double* mean = means_.data() + index * dim_;
    std::fill_n(mean, dim_, 0.0);
    for (int64_t j = 0; j < part.end - part.begin; ++j) {
      for (int64_t d = 0; d < dim_; ++d) mean[d] += keys[j * dim_ + d];
    }
    for (int64_t d = 0; d < dim_; ++d) mean[d] /= static_cast<double>(part.end - part.begin);
  });
}

int64_t BlockMeans::scratch_bytes() const {
  size_t sum = means_.capacity() * sizeof(double);
  for (const std::vector<float>& keys : keys_) sum += keys.capacity() * sizeof(float);
  return static_cast<int64_t>(sum);
}

void BlockShares::reserve(int64_t keys, int64_t dim) {
  const auto blocks = static_cast<size_t>(keys / kBlockKeys + 2);
  block_mean_.reserve(blocks);
  own_.reserve(blocks * static_cast<size_t>(dim));
  row_.reserve(blocks);
  keys_.resize(static_cast<size_t>(kAttendBlock * dim));
}

int64_t BlockShares::scratch_bytes() const {
  return static_cast<int64_t>(
      block_mean_.capacity() * sizeof(double*) + own_.capacity() * sizeof(double) +
      row_.capacity() * sizeof(RowBlock) + keys_.capacity() * sizeof(float));
}

const double* BlockShares::mean_of_seen(const AttentionCall& call, int64_t kv_head, int64_t block,
                                        const KeyRange& keys, const Visibility& visibility,
                                        const BlockMeans& means, const AttendKernel& kernel,
                                        const double* rank) {
  const KeyRange part = part_of(block, keys);
  const double* seen = rank + part.begin - keys.begin;
  const int64_t count = part.end - part.begin;
  const int64_t marked = std::count_if(seen, seen + count, [](double r) { return r != kUnseen; });
  if (marked == 0) return nullptr;
  const KeyRange shared = part_of(block, {visibility.begin(), visibility.end()});
  if (marked == shared.end - shared.begin) return means.mean(block);
  const int64_t dim = call.key.dim;
  kernel.gather(source(call, kv_head), nullptr, part.begin, count, dim, keys_.data());
  const size_t first = own_.size();
  own_.resize(first + static_cast<size_t>(dim), 0.0);
  double* mean = own_.data() + first;
  for (int64_t j = 0; j < count; ++j) {
    if (seen[j] == kUnseen) continue;
    for (int64_t d = 0; d < dim; ++d) mean[d] += keys_[static_cast<size_t>(j * dim + d)];
  }
  for (int64_t d = 0; d < dim; ++d) mean[d] /= static_cast<double>(marked);
  return mean;
}

bool BlockShares::add_row(const AttentionCall& call, const Visibility& visibility, int64_t head,
                          int64_t row, const KeyRange& keys, double rows, double* rank) {
  const RowVisibility& seen = visibility.row(head, row);
  const auto* query = static_cast<const float*>(call.query.row(head, row));
  const int64_t first_block = keys.begin / kBlockKeys;
  const double sink =
      call.sink_logits != nullptr ? static_cast<double>(call.sink_logits[head]) : kMinusInfinity;
  double largest = sink;
  row_.assign(block_mean_.size(), RowBlock());
  for (size_t b = 0; b < row_.size(); ++b) {
    if (block_mean_[b] == nullptr) continue;
    const KeyRange part = part_of(first_block + static_cast<int64_t>(b), keys);
    double bias = 0.0;
    for (int64_t key = part.begin; key < part.end; ++key) {
      const double added = visibility.bias(head, row, key);
      if (added == kMinusInfinity) continue;
      bias += added;
      ++row_[b].keys;
    }
    if (row_[b].keys == 0) continue;
    double score = 0.0;
    for (int64_t d = 0; d < call.key.dim; ++d) score += query[d] * block_mean_[b][d];
    score *= call.scale;
    if (call.logit_softcap > 0.0F) {
      score = call.logit_softcap * std::tanh(score / call.logit_softcap);
    }
    score += bias / static_cast<double>(row_[b].keys);
    if (!std::isfinite(score)) return false;
    row_[b].score = score;
    largest = std::max(largest, score);
  }
  double sum = sink == kMinusInfinity ? 0.0 : std::exp(sink - largest);
  for (const RowBlock& block : row_) {
    if (block.keys > 0) sum += static_cast<double>(block.keys) * std::exp(block.score - largest);
  }
  if (!std::isfinite(sum)) return false;
  for (size_t b = 0; b < row_.size(); ++b) {
    if (row_[b].keys == 0) continue;
    const double share = std::exp(row_[b].score - largest) / (sum * rows);
    const KeyRange part = part_of(first_block + static_cast<int64_t>(b), keys);
    for (int64_t key = part.begin; key < part.end; ++key) {
      if (seen.plain ? key >= seen.begin && key < seen.end : visibility.sees(head, row, key)) {
        rank[key - keys.begin] += share;
      }
    }
  }
  return true;
}

bool BlockShares::ranks(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
                        const ListRows& list, const KeyRange& keys, const BlockMeans& means,
                        const AttendKernel& kernel, double* rank) {
  const auto rows =
      static_cast<double>(mark_seen(visibility, list, keys.begin, keys.end - keys.begin, rank));
  own_.clear();
  block_mean_.clear();
  const int64_t first = keys.begin / kBlockKeys;
  for (int64_t b = 0; b < blocks_between(keys.begin, keys.end); ++b) {
    block_mean_.push_back(
        mean_of_seen(call, kv_head, first + b, keys, visibility, means, kernel, rank));
  }
  for (int64_t i = 0; i < list.count(); ++i) {
    if (visibility.row(list.head(i), list.row(i)).visible == 0) continue;
    if (!add_row(call, visibility, list.head(i), list.row(i), keys, rows, rank)) return false;
  }
  return true;
}

}  // namespace shadowattn
