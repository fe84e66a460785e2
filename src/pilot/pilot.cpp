#include "pilot/pilot.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "pilot/estimate_error.h"

namespace shadowattn {
namespace {

constexpr int64_t kKeysPerTask = 512;
static_assert(kKeysPerTask % kPilotKeyBlock == 0);

/// Largest magnitude of an estimate; what is above belongs to forced keys.
constexpr double kScoreRange = kLargestScore;

int64_t blocks_of(int64_t keys) { return (keys + kPilotKeyBlock - 1) / kPilotKeyBlock; }

}  // namespace

bool KeyEstimate::build(const AttentionCall& call, int64_t kv_head, int64_t begin, int64_t end,
                        const QuantizeKernel& quantize, const PilotDotKernel& pilot,
                        Executor& executor) {
  const int64_t dim = call.key.dim;
  begin_ = begin;
  end_ = end;
  const int64_t blocks = blocks_of(end - begin);
  block_bytes_ = pilot.key_block_bytes(dim);
  packed_.reserve(blocks * block_bytes_);
  scales_.reserve(blocks * kPilotKeyBlock);
  chunk_.resize(static_cast<size_t>(executor.threads()));
  for (auto& chunk : chunk_) chunk.reserve(kKeysPerTask * dim);

  const float* mean = mean_.choose(call, kv_head, begin, end, quantize);
  const bool centred =
      mean != nullptr && quantize_keys(call, kv_head, mean, quantize, pilot, executor);
  // A difference may be infinite where the keys are not.
  if (!centred && !quantize_keys(call, kv_head, nullptr, quantize, pilot, executor)) return false;
  normalise_factors();
  return true;
}

bool KeyEstimate::quantize_keys(const AttentionCall& call, int64_t kv_head, const float* mean,
                                const QuantizeKernel& quantize, const PilotDotKernel& pilot,
                                Executor& executor) {
  const int64_t dim = call.key.dim;
  const int64_t keys = end_ - begin_;
  norm2_.assign(static_cast<size_t>(executor.threads()), 0.0);
  std::atomic<bool> finite{true};
  executor.run((keys + kKeysPerTask - 1) / kKeysPerTask, [&](int64_t task, int thread) {
    const int64_t first = task * kKeysPerTask;
    const int64_t count = std::min(kKeysPerTask, keys - first);
    int8_t* q8 = chunk_[static_cast<size_t>(thread)].data();
    const bool ok =
        quantize_centred(quantize.of(call.key.type), call.key.row(kv_head, begin_ + first),
                         call.key.row_stride, count, dim, mean, q8, scales_.data() + first);
    if (!ok) finite.store(false, std::memory_order_relaxed);
    double& norm2 = norm2_[static_cast<size_t>(thread)];
    norm2 = std::max(norm2, largest_norm2_of(q8, scales_.data() + first, count, dim));
    pilot.pack_keys(q8, count, dim, packed_.data() + first / kPilotKeyBlock * block_bytes_);
  });
  largest_norm2_ = *std::max_element(norm2_.begin(), norm2_.end());
  return finite.load(std::memory_order_relaxed);
}

void KeyEstimate::normalise_factors() {
  const int64_t keys = end_ - begin_;
  float* scale = scales_.data();
  largest_scale_ = *std::max_element(scale, scale + keys);
  for (int64_t j = 0; j < keys; ++j) {
    scale[j] = largest_scale_ > 0.0F ? scale[j] / largest_scale_ : 0.0F;
  }
  std::fill(scale + keys, scale + blocks_of(keys) * kPilotKeyBlock, 0.0F);
}

int64_t KeyEstimate::scratch_bytes() const {
  int64_t sum = packed_.bytes() + scales_.bytes() + mean_.scratch_bytes();
  for (const auto& chunk : chunk_) sum += chunk.bytes();
  return sum;
}

void TileEstimate::reserve_rows(int64_t max_rows, int64_t dim, const PilotDotKernel& pilot) {
  quantised_.reserve(max_rows * dim);
  packed_.reserve(max_rows * pilot.query_row_bytes(dim));
  query_scale_.reserve(max_rows);
  row_factor_.reserve(max_rows);
  units_per_logit_.reserve(max_rows);
}

void TileEstimate::reserve_scores(int64_t max_rows, int64_t dim, int64_t keys,
                                  const PilotDotKernel& pilot) {
  reserve_rows(max_rows, dim, pilot);
  // An odd number of cache lines: rows at a power-of-two distance would fight for the same few
  // sets of the first-level cache while `scores` writes a column of them.
  static_assert(kScorePadding * sizeof(int16_t) == 64);
  const int64_t block_keys = blocks_of(keys) * kPilotKeyBlock;
  stride_ = (padded_scores(block_keys) / kScorePadding | 1) * kScorePadding;
  scores_.reserve(max_rows * stride_);
}

bool TileEstimate::quantize_list(const AttentionCall& call, const ListRows& list, int64_t first,
                                 const QuantizeKernel& quantize) {
  const TensorView& query = call.query;
  bool finite = true;
  for (int64_t i = 0; i < list.count(); ++i) {
    finite &=
        quantize.of(query.type)
            .rows(query.row(list.head(i), list.row(i)), query.row_stride, 1, query.dim,
                  quantised_.data() + (first + i) * query.dim, query_scale_.data() + first + i);
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

bool TileEstimate::prepare(const AttentionCall& call, const KeyEstimate& keys,
                           std::span<const ListRows> lists, const QuantizeKernel& quantize,
                           const PilotDotKernel& pilot) {
  int64_t rows = 0;
  for (const ListRows& list : lists) {
    if (!quantize_list(call, list, rows, quantize)) return false;
    choose_factors(rows, list.count(), call.query.dim, call.scale < 0.0F);
    rows += list.count();
  }
  error_variance_ = 0.0;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t dim = call.query.dim;
    const float q_scale = query_scale_.data()[i];
    error_variance_ = std::max(
        error_variance_, logit_error_variance({.scale = call.scale,
                                               .query_norm2 = largest_norm2_of(
                                                   quantised_.data() + i * dim, &q_scale, 1, dim),
                                               .query_step = q_scale,
                                               .key_norm2 = keys.largest_norm2(),
                                               .key_step = keys.largest_scale()}));
    // score = logit · |factor| / (q_scale · k_max · |scale|)
    const double logit =
        static_cast<double>(query_scale_.data()[i]) * keys.largest_scale() * std::fabs(call.scale);
    units_per_logit_.data()[i] = logit > 0.0 ? std::fabs(row_factor_.data()[i]) / logit : 0.0;
  }
  pilot.pack_queries(quantised_.data(), rows, call.query.dim, packed_.data());
  return true;
}

PilotTile TileEstimate::score_tile(const KeyEstimate& keys, int64_t rows, int64_t dim) const {
  PilotTile tile;
  tile.queries = packed_.data();
  tile.rows = rows;
  tile.keys = keys.packed(0);
  tile.dim = dim;
  tile.key_factor = keys.factors();
  tile.row_factor = row_factor_.data();
  return tile;
}

bool TileEstimate::scores(const AttentionCall& call, const KeyEstimate& keys,
                          const Visibility& visibility, std::span<const ListRows> lists,
                          const QuantizeKernel& quantize, const PilotDotKernel& pilot) {
  if (!prepare(call, keys, lists, quantize, pilot)) return false;
  int64_t rows = 0;
  int64_t last = keys.begin();  // causal tiles need no scores beyond what their rows see
  for (const ListRows& list : lists) {
    for (int64_t i = 0; i < list.count(); ++i) {
      last = std::max<int64_t>(last, visibility.row(list.head(i), list.row(i)).end);
    }
    rows += list.count();
  }
  PilotTile tile = score_tile(keys, rows, call.query.dim);
  tile.key_blocks = blocks_of(last - keys.begin());
  tile.scores = scores_.data();
  tile.stride = stride_;
  pilot.scores(tile);

  first_key_ = keys.begin();
  int64_t i = 0;
  for (const ListRows& list : lists) {
    for (int64_t j = 0; j < list.count(); ++j, ++i) {
      hide_keys(visibility, list.head(j), list.row(j), this->rows(), i);
    }
  }
  return true;
}

int64_t TileEstimate::scratch_bytes() const {
  return quantised_.bytes() + packed_.bytes() + query_scale_.bytes() + row_factor_.bytes() +
         units_per_logit_.bytes() + levels_.scratch_bytes() + scores_.bytes();
}

}  // namespace shadowattn
