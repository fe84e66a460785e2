#include "baselines/int8_attention.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "baselines/guarded_run.h"
#include "baselines/softmax_shares.h"
#include "kernels/quantize/quantize.h"

namespace shadowattn {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr double kLevels = 127.0;

/// To nearest even, as std::nearbyint, which is a call where the processor is not known to have an
/// instruction for it.
int8_t quantized(double x, double scale) {
  constexpr double kNoFraction = 0x1.8p52;
  if (scale == 0.0) return 0;
  const double clipped = std::clamp(x / scale, -kLevels, kLevels);
  return static_cast<int8_t>(clipped + kNoFraction - kNoFraction);
}

double scale_of(double largest) { return largest < kSmallestQuantizable ? 0.0 : largest / kLevels; }

/// Quantises a row; zeros when it holds a NaN or an infinity, and then false.
bool quantize_row(const float* x, int64_t dim, double scale, int8_t* q8) {
  for (int64_t d = 0; d < dim; ++d) {
    if (std::isfinite(x[d])) continue;
    std::fill_n(q8, dim, int8_t{0});
    return false;
  }
  for (int64_t d = 0; d < dim; ++d) q8[d] = quantized(x[d], scale);
  return true;
}

double largest_finite(const float* x, int64_t count) {
  double largest = 0.0;
  for (int64_t d = 0; d < count; ++d) {
    if (std::isfinite(x[d])) largest = std::max<double>(largest, std::fabs(x[d]));
  }
  return largest;
}

RowSource source(const TensorView& view, int64_t head) {
  return {view.row(head, 0), view.type, view.row_stride};
}

}  // namespace

void Int8Attention::reserve(const BaselineCall& context, Executor& executor) {
  const AttentionCall& call = context.call;
  const PilotDotKernel& pilot = context.kernels.pilot_dot;
  const int64_t keys = context.visibility.end() - context.visibility.begin();
  const int64_t heads = call.query.heads / call.key.heads;
  const int64_t dim = call.key.dim;
  blocks_ = (keys + kPilotKeyBlock - 1) / kPilotKeyBlock;
  block_bytes_ = pilot.key_block_bytes(dim);
  k8_.reserve(keys * dim);
  packed_.reserve(blocks_ * block_bytes_);
  v8_.reserve(keys * call.value.dim);
  std::fill_n(key_factor_.reserve(blocks_ * kPilotKeyBlock), blocks_ * kPilotKeyBlock, 1.0F);
  nonfinite_.resize(static_cast<size_t>(keys));
  rows_.resize(static_cast<size_t>(executor.threads()));
  for (Row& row : rows_) {
    row.query.reserve(dim);
    row.q8.reserve(heads * dim);
    row.packed.reserve(heads * pilot.query_row_bytes(dim));
    row.factor.reserve(heads);
    row.logit.reserve(heads * blocks_ * kPilotKeyBlock);
    row.weight.reserve(keys);
    row.sum.reserve(call.value.dim);
    row.nonzero.reserve(keys);
    row.gathered.reserve(kAttendBlock * std::max(dim, call.value.dim));
  }
}

int64_t Int8Attention::scratch_bytes() const {
  int64_t sum = k8_.bytes() + packed_.bytes() + v8_.bytes() + key_factor_.bytes() +
                static_cast<int64_t>(nonfinite_.capacity());
  for (const Row& row : rows_) {
    sum += row.query.bytes() + row.q8.bytes() + row.packed.bytes() + row.factor.bytes() +
           row.logit.bytes() + row.weight.bytes() + row.sum.bytes() + row.nonzero.bytes() +
           row.gathered.bytes();
  }
  return sum;
}

double Int8Attention::largest_seen(const BaselineCall& context, const TensorView& tensor,
                                   const std::vector<double>& seen) {
  const int64_t begin = context.visibility.begin();
  float* gathered = rows_.front().gathered.data();
  double largest = 0.0;
  for (int64_t head = 0; head < tensor.heads; ++head) {
    for (int64_t j = 0; j < std::ssize(seen); ++j) {
      if (seen[static_cast<size_t>(j)] == kUnseen) continue;
      context.kernels.attend.gather(source(tensor, head), nullptr, begin + j, 1, tensor.dim,
                                    gathered);
      largest = std::max(largest, largest_finite(gathered, tensor.dim));
    }
  }
  return largest;
}

Int8Attention::Scales Int8Attention::measure(const BaselineCall& context, Executor& executor) {
  const AttentionCall& call = context.call;
  const Visibility& visibility = context.visibility;
  Scales scales{call.layer, call.query.heads, call.key.heads, call.key.dim, call.value.dim};
  double largest = 0.0;
  for (int64_t head = 0; head < call.query.heads; ++head) {
    for (int64_t row = 0; row < call.query.rows; ++row) {
      if (visibility.row(head, row).visible == 0) continue;
      const auto* query = static_cast<const float*>(call.query.row(head, row));
      largest = std::max(largest, largest_finite(query, call.query.dim));
    }
  }
  scales.query = scale_of(largest);
  // What lies in the cells of the cache that nobody sees may be anything.
  std::vector<double> seen(static_cast<size_t>(visibility.end() - visibility.begin()));
  mark_seen(visibility, {{0, call.query.rows}, 0, call.query.heads}, visibility.begin(),
            std::ssize(seen), seen.data());
  scales.key = scale_of(largest_seen(context, call.key, seen));
  scales.value = scale_of(largest_seen(context, call.value, seen));

  scales_ = scales;
  for (Row& row : rows_) row.largest = 0;
  for (int64_t kv_head = 0; kv_head < call.key.heads; ++kv_head) {
    quantize_keys(context, kv_head, executor);
    executor.run(call.query.rows, [&](int64_t row, int thread) {
      find_largest_sum(context, kv_head, row, rows_[static_cast<size_t>(thread)]);
    });
  }
  int64_t sum = 0;
  for (const Row& row : rows_) sum = std::max(sum, row.largest);
  const double factor = std::fabs(call.scale) * scales.query * scales.key;
  scales.logit = factor * static_cast<double>(sum) / kLevels;
  if (sum > 0) {
    scales.logit_factor =
        static_cast<float>(std::copysign(kLevels / static_cast<double>(sum), call.scale));
  }
  return scales;
}

void Int8Attention::quantize_keys(const BaselineCall& context, int64_t kv_head,
                                  Executor& executor) {
  static_assert(kAttendBlock % kPilotKeyBlock == 0);
  const AttentionCall& call = context.call;
  const int64_t begin = context.visibility.begin();
  const int64_t keys = context.visibility.end() - begin;
  executor.run((keys + kAttendBlock - 1) / kAttendBlock, [&](int64_t task, int thread) {
    float* gathered = rows_[static_cast<size_t>(thread)].gathered.data();
    const int64_t first = task * kAttendBlock;
    const int64_t count = std::min(kAttendBlock, keys - first);
    const AttendKernel& attend = context.kernels.attend;
    const int64_t dim = call.key.dim;
    attend.gather(source(call.key, kv_head), nullptr, begin + first, count, dim, gathered);
    for (int64_t j = 0; j < count; ++j) {
      const bool finite =
          quantize_row(gathered + j * dim, dim, scales_.key, k8_.data() + (first + j) * dim);
      nonfinite_[static_cast<size_t>(first + j)] = finite ? 0 : 1;
    }
    context.kernels.pilot_dot.pack_keys(k8_.data() + first * dim, count, dim,
                                        packed_.data() + first / kPilotKeyBlock * block_bytes_);
    const int64_t value_dim = call.value.dim;
    attend.gather(source(call.value, kv_head), nullptr, begin + first, count, value_dim, gathered);
    for (int64_t j = 0; j < count; ++j) {
      const bool finite = quantize_row(gathered + j * value_dim, value_dim, scales_.value,
                                       v8_.data() + (first + j) * value_dim);
      if (!finite) nonfinite_[static_cast<size_t>(first + j)] = 1;
    }
  });
  any_nonfinite_ = std::find(nonfinite_.begin(), nonfinite_.end(), 1) != nonfinite_.end();
}

bool Int8Attention::quantize_queries(const BaselineCall& context, int64_t kv_head, int64_t row,
                                     Row& scratch) {
  const TensorView& query = context.call.query;
  const int64_t heads = query.heads / context.call.key.heads;
  bool finite = true;
  for (int64_t h = 0; h < heads; ++h) {
    // Unaligned rows are allowed in no f32 tensor, so they can be read where they lie.
    const auto* x = static_cast<const float*>(query.row(kv_head * heads + h, row));
    finite &= quantize_row(x, query.dim, scales_.query, scratch.q8.data() + h * query.dim);
  }
  return finite;
}

void Int8Attention::find_largest_sum(const BaselineCall& context, int64_t kv_head, int64_t row,
                                     Row& scratch) {
  const AttentionCall& call = context.call;
  const int64_t heads = call.query.heads / call.key.heads;
  const int64_t dim = call.key.dim;
  quantize_queries(context, kv_head, row, scratch);
  for (int64_t h = 0; h < heads; ++h) {
    const int64_t head = kv_head * heads + h;
    const RowVisibility& seen = context.visibility.row(head, row);
    const int8_t* q = scratch.q8.data() + h * dim;
    for (int64_t key = seen.begin; key < seen.end; ++key) {
      if (!seen.plain && !context.visibility.sees(head, row, key)) continue;
      const int8_t* k = k8_.data() + (key - context.visibility.begin()) * dim;
      int32_t sum = 0;
      for (int64_t d = 0; d < dim; ++d) sum += static_cast<int32_t>(q[d]) * k[d];
      scratch.largest = std::max<int64_t>(scratch.largest, std::abs(sum));
    }
  }
}

void Int8Attention::score(const BaselineCall& context, float factor, Row& scratch) {
  const PilotDotKernel& pilot = context.kernels.pilot_dot;
  const int64_t heads = context.call.query.heads / context.call.key.heads;
  PilotTile tile;
  pilot.pack_queries(scratch.q8.data(), heads, context.call.key.dim, scratch.packed.data());
  std::fill_n(scratch.factor.data(), heads, factor);
  tile.queries = scratch.packed.data();
  tile.rows = heads;
  tile.keys = packed_.data();
  tile.key_blocks = blocks_;
  tile.dim = context.call.key.dim;
  tile.key_factor = key_factor_.data();
  tile.row_factor = scratch.factor.data();
  tile.scores = scratch.logit.data();
  tile.stride = blocks_ * kPilotKeyBlock;
  pilot.scores(tile);
}

bool Int8Attention::sees_nonfinite(const BaselineCall& context, int64_t kv_head,
                                   int64_t row) const {
  if (!any_nonfinite_) return false;
  const int64_t heads = context.call.query.heads / context.call.key.heads;
  const int64_t begin = context.visibility.begin();
  for (int64_t j = 0; j < std::ssize(nonfinite_); ++j) {
    if (nonfinite_[static_cast<size_t>(j)] == 0) continue;
    for (int64_t h = kv_head * heads; h < (kv_head + 1) * heads; ++h) {
      if (context.visibility.sees(h, row, begin + j)) return true;
    }
  }
  return false;
}

bool Int8Attention::finish_head(const BaselineCall& context, int64_t head, int64_t row,
                                const int16_t* logit, Row& scratch, BaselineWorker& worker) {
  const AttentionCall& call = context.call;
  const RowVisibility& seen = context.visibility.row(head, row);
  const int64_t first_key = context.visibility.begin();
  const int64_t value_dim = call.value.dim;
  float* weight = scratch.weight.data();
  float largest = call.sink_logits != nullptr ? call.sink_logits[head] : kMinusInfinity;
  for (int64_t key = seen.begin; key < seen.end; ++key) {
    const int64_t j = key - first_key;
    const float bias = seen.plain ? 0.0F : context.visibility.bias(head, row, key);
    weight[j] = kMinusInfinity;
    if (bias == kMinusInfinity) continue;
    const auto clipped = std::clamp<int>(logit[j], -127, 127);
    auto value = static_cast<float>(clipped * scales_.logit);
    if (call.logit_softcap > 0.0F) {
      value = call.logit_softcap * std::tanh(value / call.logit_softcap);
    }
    weight[j] = value + bias;
    largest = std::max(largest, weight[j]);
  }
  double sum = 0.0;
  if (call.sink_logits != nullptr && call.sink_logits[head] != kMinusInfinity) {
    sum = std::exp(call.sink_logits[head] - largest);
  }
  for (int64_t key = seen.begin; key < seen.end; ++key) {
    float& w = weight[key - first_key];
    if (w == kMinusInfinity) {
      w = 0.0F;  // hidden
      continue;
    }
    w = std::exp(w - largest);
    sum += w;
  }
  if (!std::isfinite(sum)) return false;
  const float normal = sum > 0.0 ? static_cast<float>(1.0 / sum) : 0.0F;
  int32_t* out = scratch.sum.data();
  int32_t* nonzero = scratch.nonzero.data();
  int64_t used = 0;
  std::fill_n(out, value_dim, 0);
  for (int64_t key = seen.begin; key < seen.end; ++key) {
    const int64_t j = key - first_key;
    const int32_t p8 = quantized(weight[j] * normal, 1.0 / kLevels);
    if (p8 == 0) continue;
    nonzero[used++] = static_cast<int32_t>(key);
    const int8_t* value = v8_.data() + j * value_dim;
    for (int64_t d = 0; d < value_dim; ++d) out[d] += p8 * value[d];
  }
  float* output = call.output.row(head, row);
  const double step = scales_.value / kLevels;
  for (int64_t d = 0; d < value_dim; ++d) output[d] = static_cast<float>(out[d] * step);
  worker.counters.kept_pairs += seen.visible;
  worker.sample(context, {{row, 1}, head, 1}, {nonzero, 0, used}, 0.0);
  return true;
}

void Int8Attention::attend_row(const BaselineCall& context, int64_t kv_head, int64_t row,
                               Row& scratch, BaselineWorker& worker) {
  const auto started = std::chrono::steady_clock::now();
  const int64_t heads = context.call.query.heads / context.call.key.heads;
  bool usable =
      quantize_queries(context, kv_head, row, scratch) && !sees_nonfinite(context, kv_head, row);
  const int64_t pairs = worker.counters.kept_pairs;
  const size_t samples = worker.counters.samples.size();
  if (usable) {
    score(context, scales_.logit_factor, scratch);
    for (int64_t h = 0; h < heads && usable; ++h) {
      usable = finish_head(context, kv_head * heads + h, row,
                           scratch.logit.data() + h * blocks_ * kPilotKeyBlock, scratch, worker);
    }
  }
  if (!usable) {
    worker.counters.kept_pairs = pairs;
    worker.counters.samples.resize(samples);
    worker.counters.nonfinite_rows += 1;
    worker.attend_densely(context, kv_head, {{row, 1}, kv_head * heads, heads});
  }
  worker.counters.attend_ns += std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now() - started)
                                   .count();
}

void Int8Attention::attend(const BaselineCall& context, Executor& executor,
                           std::vector<BaselineWorker>& workers) {
  const AttentionCall& call = context.call;
  reserve(context, executor);
  const auto known = std::find_if(known_.begin(), known_.end(), [&](const Scales& s) {
    return s.layer == call.layer && s.heads == call.query.heads && s.kv_heads == call.key.heads &&
           s.dim == call.key.dim && s.value_dim == call.value.dim;
  });
  if (known != known_.end()) {
    scales_ = *known;
  } else {
    scales_ = measure(context, executor);
    if (call.layer >= 0 && context.visibility.max_visible() > 0) known_.push_back(scales_);
  }
  for (int64_t kv_head = 0; kv_head < call.key.heads; ++kv_head) {
    quantize_keys(context, kv_head, executor);
    guarded_run(executor, call.query.rows, [&](int64_t row, int thread) {
      attend_row(context, kv_head, row, rows_[static_cast<size_t>(thread)],
                 workers[static_cast<size_t>(thread)]);
    });
  }
}

}  // namespace shadowattn
