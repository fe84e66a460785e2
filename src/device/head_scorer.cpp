#include "device/head_scorer.h"

#include <algorithm>
#include <cstring>

#include "kernels/family.h"

namespace shadowattn {
namespace {

constexpr int64_t kKernelDimMultiple = 16;
/// Keys packed at a time: with the largest dim 64 KiB, so they stay in cache while all rows pass.
constexpr int64_t kChunkKeys = 256;

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// `from` itself when dim needs no filling up; else a copy in `to`.
const int8_t* with_padded_dim(const int8_t* from, int64_t rows, int64_t dim, int64_t padded_dim,
                              int8_t* to) {
  if (dim == padded_dim) return from;
  std::memset(to, 0, static_cast<size_t>(rows * padded_dim));
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(to + r * padded_dim, from + r * dim, static_cast<size_t>(dim));
  }
  return to;
}

}  // namespace

HeadScorer::HeadScorer() : kernel_(best_kernel(pilot_dot_kernels(), detect_cpu_features())) {}

void HeadScorer::reserve(const GraphSpec& spec) {
  const int64_t dim = round_up(spec.dim, kKernelDimMultiple);
  queries_.reserve(spec.rows * kernel_.query_row_bytes(dim));
  keys_.reserve(kChunkKeys / kPilotKeyBlock * kernel_.key_block_bytes(dim));
  if (dim != spec.dim) padded_.reserve(std::max<int64_t>(spec.rows, kChunkKeys) * dim);
  if (spec.keys % kPilotKeyBlock != 0) chunk_.reserve(spec.rows * kChunkKeys);
}

void HeadScorer::compute(const GraphSpec& spec, const int8_t* query, const int8_t* key,
                         int8_t* scores, const std::atomic<bool>* stop) {
  const int64_t dim = round_up(spec.dim, kKernelDimMultiple);
  kernel_.pack_queries(with_padded_dim(query, spec.rows, spec.dim, dim, padded_.data()), spec.rows,
                       dim, queries_.data());
  PilotFixed tile{.queries = queries_.data(),
                  .rows = spec.rows,
                  .keys = keys_.data(),
                  .dim = dim,
                  .requantisation = spec.requantisation};
  for (int64_t first = 0; first < spec.keys; first += kChunkKeys) {
    if (stop != nullptr && stop->load(std::memory_order_relaxed)) return;
    const int64_t count = std::min<int64_t>(kChunkKeys, spec.keys - first);
    kernel_.pack_keys(with_padded_dim(key + first * spec.dim, count, spec.dim, dim, padded_.data()),
                      count, dim, keys_.data());
    tile.key_blocks = round_up(count, kPilotKeyBlock) / kPilotKeyBlock;
    const bool whole = count % kPilotKeyBlock == 0;
    tile.scores = whole ? scores + first : chunk_.data();
    tile.stride = whole ? spec.keys : kChunkKeys;
    kernel_.fixed_scores(tile);
    for (int64_t r = 0; !whole && r < spec.rows; ++r) {
      std::memcpy(scores + r * spec.keys + first, chunk_.data() + r * kChunkKeys,
                  static_cast<size_t>(count));
    }
  }
}

}  // namespace shadowattn
