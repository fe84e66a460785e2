#include "pilot/pilot.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "pilot/estimate_error.h"

namespace shadowattn {
namespace {

constexpr int64_t kKeysPerTask = 512;
static_assert(kKeysPerTask % kPilotKeyBlock == 0);

/// Largest magnitude of an estimate; what is above belongs to forced keys.
constexpr double kScoreRange = kLargestScore;

int64_t blocks_of(int64_t keys) { return (keys + kPilotKeyBlock - 1) / kPilotKeyBlock; }
int64_t chunks_of(int64_t keys) { return (keys + kKeysPerTask - 1) / kKeysPerTask; }

}  // namespace

void KeyEstimate::reserve(KeyRange keys, int64_t dim, const PilotDotKernel& pilot) {
  begin_ = keys.begin;
  end_ = keys.end;
  const int64_t blocks = blocks_of(end_ - begin_);
  block_bytes_ = pilot.key_block_bytes(dim);
  packed_.reserve(blocks * block_bytes_);
  scales_.reserve(blocks * kPilotKeyBlock);
  norm2_.reserve(chunks_of(end_ - begin_));
}

void KeyEstimate::finish() {
  const int64_t keys = end_ - begin_;
  const double* norm2 = norm2_.data();
  largest_norm2_ = *std::max_element(norm2, norm2 + chunks_of(keys));
  finite_ = std::isfinite(largest_norm2_);
  float* scale = scales_.data();
  largest_scale_ = *std::max_element(scale, scale + keys);
  for (int64_t j = 0; j < keys; ++j) {
    scale[j] = largest_scale_ > 0.0F ? scale[j] / largest_scale_ : 0.0F;
  }
  std::fill(scale + keys, scale + blocks_of(keys) * kPilotKeyBlock, 0.0F);
}

void KeyEstimates::build(const AttentionCall& call, std::span<const int64_t> wanted, KeyRange keys,
                         const QuantizeKernel& quantize, const PilotDotKernel& pilot,
                         Executor& executor) {
  heads_.resize(static_cast<size_t>(call.key.heads));
  chunk_.resize(static_cast<size_t>(executor.threads()));
  for (auto& chunk : chunk_) chunk.reserve(kKeysPerTask * call.key.dim);
  for (const int64_t kv_head : wanted) {
    KeyEstimate& head = heads_[static_cast<size_t>(kv_head)];
    head.reserve(keys, call.key.dim, pilot);
    head.mean_.reserve(call.key.dim);
  }
  executor.run(std::ssize(wanted), [&](int64_t index, int) {
    const int64_t kv_head = wanted[static_cast<size_t>(index)];
    KeyEstimate& head = heads_[static_cast<size_t>(kv_head)];
    head.subtracted_ = head.mean_.choose(call, kv_head, keys.begin, keys.end, quantize);
  });
  quantize_chunks(call, wanted, quantize, pilot, executor);
  // A difference may be infinite where the keys are not.
  std::vector<int64_t> again;
  for (const int64_t kv_head : wanted) {
    KeyEstimate& head = heads_[static_cast<size_t>(kv_head)];
    if (head.finite_ || head.subtracted_ == nullptr) continue;
    head.subtracted_ = nullptr;
    again.push_back(kv_head);
  }
  if (!again.empty()) quantize_chunks(call, again, quantize, pilot, executor);
}

void KeyEstimates::build_for_shares(const AttentionCall& call, KeyRange keys,
                                    const PilotDotKernel& pilot, const AttendKernel& attend,
                                    const ProjectKernel& project, Executor& executor) {
  const int64_t dim = call.key.dim;
  const int64_t count = keys.end - keys.begin;
  const int64_t chunks = chunks_of(count);
  heads_.resize(static_cast<size_t>(call.key.heads));
  chunk_.resize(static_cast<size_t>(executor.threads()));
  projected_.resize(static_cast<size_t>(executor.threads()));
  for (auto& chunk : chunk_) chunk.reserve(kKeysPerTask * dim);
  for (auto& chunk : projected_) chunk.reserve(kKeysPerTask * dim);
  for (KeyEstimate& head : heads_) {
    head.reserve(keys, dim, pilot);
    head.basis_.reserve(dim);
  }
  executor.run(call.key.heads, [&](int64_t kv_head, int) {
    KeyEstimate& head = heads_[static_cast<size_t>(kv_head)];
    head.basis_.find(call, kv_head, keys, attend, project);
    head.block_bytes_ = pilot.key_block_bytes(head.basis_.dim());
  });
  executor.run(chunks * call.key.heads, [&](int64_t task, int thread) {
    const int64_t kv_head = task / chunks;
    KeyEstimate& head = heads_[static_cast<size_t>(kv_head)];
    const ScoreBasis& basis = head.basis_;
    const int64_t chunk = task % chunks;
    const int64_t first = chunk * kKeysPerTask;
    const int64_t rows = std::min(kKeysPerTask, count - first);
    float* projected = projected_[static_cast<size_t>(thread)].data();
    int8_t* q8 = chunk_[static_cast<size_t>(thread)].data();
    float* scale = head.scales_.data() + first;
    project.rows({{call.key.row(kv_head, 0), call.key.type, call.key.row_stride},
                  keys.begin + first,
                  1,
                  rows,
                  dim,
                  basis.key_map(),
                  basis.dim(),
                  basis.key_start(),
                  projected});
    const bool finite = project.quantize(projected, basis.dim(), rows, basis.dim(), q8, scale);
    head.norm2_.data()[chunk] = finite ? largest_norm2_of(q8, scale, rows, basis.dim())
                                       : std::numeric_limits<double>::infinity();
    pilot.pack_keys(q8, rows, basis.dim(),
                    head.packed_.data() + first / kPilotKeyBlock * head.block_bytes_);
  });
  for (KeyEstimate& head : heads_) head.finish();
}

void KeyEstimates::quantize_chunks(const AttentionCall& call, std::span<const int64_t> wanted,
                                   const QuantizeKernel& quantize, const PilotDotKernel& pilot,
                                   Executor& executor) {
  const int64_t dim = call.key.dim;
  const KeyEstimate& any = heads_[static_cast<size_t>(wanted.front())];
  const int64_t keys = any.end_ - any.begin_;
  const int64_t chunks = chunks_of(keys);
  executor.run(chunks * std::ssize(wanted), [&](int64_t task, int thread) {
    const int64_t kv_head = wanted[static_cast<size_t>(task / chunks)];
    KeyEstimate& head = heads_[static_cast<size_t>(kv_head)];
    const int64_t chunk = task % chunks;
    const int64_t first = chunk * kKeysPerTask;
    const int64_t count = std::min(kKeysPerTask, keys - first);
    int8_t* q8 = chunk_[static_cast<size_t>(thread)].data();
    float* scale = head.scales_.data() + first;
    const bool finite =
        quantize_centred(quantize.of(call.key.type), call.key.row(kv_head, head.begin_ + first),
                         call.key.row_stride, count, dim, head.subtracted_, q8, scale);
    head.norm2_.data()[chunk] =
        finite ? largest_norm2_of(q8, scale, count, dim) : std::numeric_limits<double>::infinity();
    pilot.pack_keys(q8, count, dim,
                    head.packed_.data() + first / kPilotKeyBlock * head.block_bytes_);
  });
  for (const int64_t kv_head : wanted) heads_[static_cast<size_t>(kv_head)].finish();
}

int64_t KeyEstimates::scratch_bytes() const {
  int64_t sum = 0;
  for (const KeyEstimate& head : heads_) sum += head.scratch_bytes();
  for (const auto& chunk : chunk_) sum += chunk.bytes();
  for (const auto& chunk : projected_) sum += chunk.bytes();
  return sum;
}

int64_t KeyEstimate::scratch_bytes() const {
  return packed_.bytes() + scales_.bytes() + norm2_.bytes() + mean_.scratch_bytes() +
         basis_.scratch_bytes();
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
         units_per_logit_.bytes() + levels_.scratch_bytes() + share_slope_.bytes() +
         share_offset_.bytes() + share_factor_.bytes() + share_total_.bytes() +
         unseen_total_.bytes() + shares_.bytes() + scores_.bytes();
}

}  // namespace shadowattn
