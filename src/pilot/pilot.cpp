#include "pilot/pilot.h"

#include <algorithm>
#include <atomic>
#include <cmath>

namespace shadowattn {
namespace {

constexpr int64_t kKeysPerTask = 512;
static_assert(kKeysPerTask % kPilotKeyBlock == 0);

/// Largest magnitude of an estimate; what is above belongs to forced keys.
constexpr double kScoreRange = kLargestScore;

}  // namespace

bool KeyEstimate::build(const AttentionCall& call, int64_t begin, int64_t end,
                        const QuantizeKernel& quantize, const PilotDotKernel& pilot,
                        Executor& executor) {
  const int64_t kv_heads = call.key.heads;
  const int64_t dim = call.key.dim;
  begin_ = begin;
  end_ = end;
  blocks_ = (end - begin + kPilotKeyBlock - 1) / kPilotKeyBlock;
  block_bytes_ = pilot.key_block_bytes(dim);
  packed_.reserve(kv_heads * blocks_ * block_bytes_);
  float* scales = scales_.reserve(kv_heads * blocks_ * kPilotKeyBlock);
  chunk_.resize(static_cast<size_t>(executor.threads()));
  for (auto& chunk : chunk_) chunk.reserve(kKeysPerTask * dim);
  largest_scale_.assign(static_cast<size_t>(kv_heads), 0.0F);

  const int64_t tasks_per_head = (end - begin + kKeysPerTask - 1) / kKeysPerTask;
  std::atomic<bool> finite{true};
  executor.run(kv_heads * tasks_per_head, [&](int64_t task, int thread) {
    const int64_t head = task / tasks_per_head;
    const int64_t first = task % tasks_per_head * kKeysPerTask;
    const int64_t count = std::min(kKeysPerTask, end - begin - first);
    int8_t* q8 = chunk_[static_cast<size_t>(thread)].data();
    float* scale = scales + head * blocks_ * kPilotKeyBlock + first;
    const bool ok = quantize.from(call.key.type)(call.key.row(head, begin + first),
                                                 call.key.row_stride, count, dim, q8, scale);
    if (!ok) finite.store(false, std::memory_order_relaxed);
    const int64_t block = head * blocks_ + first / kPilotKeyBlock;
    pilot.pack_keys(q8, count, dim, packed_.data() + block * block_bytes_);
  });
  if (!finite.load(std::memory_order_relaxed)) return false;
  normalise_factors(kv_heads);
  return true;
}

void KeyEstimate::normalise_factors(int64_t kv_heads) {
  const int64_t keys = end_ - begin_;
  for (int64_t head = 0; head < kv_heads; ++head) {
    float* scale = scales_.data() + head * blocks_ * kPilotKeyBlock;
    const float largest = *std::max_element(scale, scale + keys);
    largest_scale_[static_cast<size_t>(head)] = largest;
    for (int64_t j = 0; j < keys; ++j) scale[j] = largest > 0.0F ? scale[j] / largest : 0.0F;
    std::fill(scale + keys, scale + blocks_ * kPilotKeyBlock, 0.0F);
  }
}

void TileEstimate::reserve(int64_t max_rows, int64_t dim, int64_t keys,
                           const PilotDotKernel& pilot) {
  const int64_t block_keys = (keys + kPilotKeyBlock - 1) / kPilotKeyBlock * kPilotKeyBlock;
  // An odd number of cache lines: rows at a power-of-two distance would fight for the same few
  // sets of the first-level cache while `scores` writes a column of them.
  static_assert(kScorePadding * sizeof(int16_t) == 64);
  stride_ = (padded_scores(block_keys) / kScorePadding | 1) * kScorePadding;
  quantised_.reserve(max_rows * dim);
  packed_.reserve(max_rows * pilot.query_row_bytes(dim));
  query_scale_.reserve(max_rows);
  row_factor_.reserve(max_rows);
  units_per_logit_.reserve(max_rows);
  scores_.reserve(max_rows * stride_);
}

bool TileEstimate::quantize_list(const AttentionCall& call, const ListRows& list, int64_t first,
                                 const QuantizeKernel& quantize) {
  const TensorView& query = call.query;
  bool finite = true;
  for (int64_t i = 0; i < list.count(); ++i) {
    finite &= quantize.from(query.type)(query.row(list.head(i), list.row(i)), query.row_stride, 1,
                                        query.dim, quantised_.data() + (first + i) * query.dim,
                                        query_scale_.data() + first + i);
  }
  return finite;
}

void TileEstimate::choose_factors(int64_t first, int64_t count, int64_t dim, bool negative) {
  const float* scale = query_scale_.data();
  double bound = 0.0;
  for (int64_t i = first; i < first + count; ++i) {
    const int8_t* q = quantised_.data() + i * dim;
    int64_t l1 = 0;
    for (int64_t d = 0; d < dim; ++d) l1 += std::abs(q[d]);
    bound = std::max(bound, 127.0 * static_cast<double>(l1) * scale[i]);
  }
  // A negative softmax scale turns the ranking round.
  const double range = negative ? -kScoreRange : kScoreRange;
  for (int64_t i = first; i < first + count; ++i) {
    row_factor_.data()[i] = bound > 0.0 ? static_cast<float>(range * scale[i] / bound) : 0.0F;
  }
}

bool TileEstimate::estimate(const AttentionCall& call, const KeyEstimate& keys,
                            const Visibility& visibility, int64_t kv_head,
                            std::span<const ListRows> lists, const QuantizeKernel& quantize,
                            const PilotDotKernel& pilot) {
  const int64_t dim = call.query.dim;
  int64_t rows = 0;
  int64_t last = keys.begin();  // causal tiles need no scores beyond what their rows see
  for (const ListRows& list : lists) {
    if (!quantize_list(call, list, rows, quantize)) return false;
    choose_factors(rows, list.count(), dim, call.scale < 0.0F);
    for (int64_t i = 0; i < list.count(); ++i) {
      last = std::max<int64_t>(last, visibility.row(list.head(i), list.row(i)).end);
    }
    rows += list.count();
  }
  pilot.pack_queries(quantised_.data(), rows, dim, packed_.data());

  PilotTile tile;
  tile.queries = packed_.data();
  tile.rows = rows;
  tile.keys = keys.packed(kv_head);
  tile.key_blocks = (last - keys.begin() + kPilotKeyBlock - 1) / kPilotKeyBlock;
  tile.dim = dim;
  tile.key_factor = keys.factors(kv_head);
  tile.row_factor = row_factor_.data();
  tile.scores = scores_.data();
  tile.stride = stride_;
  pilot.scores(tile);

  int64_t i = 0;
  for (const ListRows& list : lists) {
    for (int64_t j = 0; j < list.count(); ++j, ++i) {
      // score = logit · |factor| / (q_scale · k_max · |scale|)
      const double logit = static_cast<double>(query_scale_.data()[i]) *
                           keys.largest_scale(kv_head) * std::fabs(call.scale);
      units_per_logit_.data()[i] = logit > 0.0 ? std::fabs(row_factor_.data()[i]) / logit : 0.0;
      hide(visibility, list.head(j), list.row(j), i, keys);
    }
  }
  return true;
}

void TileEstimate::hide(const Visibility& visibility, int64_t head, int64_t query_row, int64_t i,
                        const KeyEstimate& keys) {
  const RowVisibility& seen = visibility.row(head, query_row);
  int16_t* scores = row(i);
  const int64_t begin = std::clamp(seen.begin - keys.begin(), int64_t{0}, stride_);
  const int64_t end = std::clamp(seen.end - keys.begin(), begin, stride_);
  std::fill(scores, scores + begin, kHiddenScore);
  std::fill(scores + end, scores + stride_, kHiddenScore);
  if (seen.plain) return;
  for (int64_t j = begin; j < end; ++j) {
    const float bias = visibility.bias(head, query_row, keys.begin() + j);
    if (bias == 0.0F) continue;
    if (std::isinf(bias) && bias < 0.0F) {
      scores[j] = kHiddenScore;
      continue;
    }
    const double biased = scores[j] + static_cast<double>(bias) * units_per_logit(i);
    // NaN is not below the range and lands at the top: a hostile mask shows up in the output.
    scores[j] = !(biased < kScoreRange) ? kLargestScore
                : biased > -kScoreRange ? static_cast<int16_t>(std::lrint(biased))
                                        : static_cast<int16_t>(-kLargestScore);
  }
}

}  // namespace shadowattn
