#include "attention_quality.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/failure.h"
#include "measure/tensor_element.h"

namespace shadowattn::bench {
namespace {

using tool::measure::element;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kTileRows = 8;    // query rows computed together
constexpr int64_t kKeyBlock = 256;  // a block of keys in double stays in the second-level cache

// Keys [dim][n] and values [n][dim] of one KV head, so that inner loops run over adjacent elements.
struct KvHead {
  KvHead(const AttentionCall& call, int64_t head)
      : keys(static_cast<size_t>(call.key.dim * call.key.rows)),
        values(static_cast<size_t>(call.value.dim * call.value.rows)) {
    for (int64_t j = 0; j < call.key.rows; ++j) {
      for (int64_t d = 0; d < call.key.dim; ++d) {
        keys[static_cast<size_t>(d * call.key.rows + j)] = element(call.key, head, j, d);
      }
      for (int64_t d = 0; d < call.value.dim; ++d) {
        values[static_cast<size_t>(j * call.value.dim + d)] = element(call.value, head, j, d);
      }
    }
  }

  std::vector<double> keys, values;
};

double bias(const AttentionCall& call, int64_t head, int64_t row, int64_t key) {
  const Mask& mask = call.mask;
  if (mask.kind == MaskKind::kNone) return 0;
  if (mask.kind == MaskKind::kCausal) return key <= row + mask.causal_offset ? 0 : -kInfinity;
  const double value = element(mask.additive, head % mask.additive.heads, row, key);
  return value == -kInfinity || mask.slopes == nullptr ? value : value * mask.slopes[head];
}

// Up to kTileRows rows of one query head.
class ExactTile {
 public:
  ExactTile(const AttentionCall& call, int64_t head, int64_t first_row)
      : call_(call),
        head_(head),
        first_row_(first_row),
        rows_(std::min(kTileRows, call.query.rows - first_row)),
        logits_(static_cast<size_t>(rows_ * call.key.rows), 0.0),
        sums_(static_cast<size_t>(rows_), 0.0) {}

  void run(const KvHead& kv, ExactAttention& exact) {
    multiply_keys(kv);
    for (int64_t r = 0; r < rows_; ++r) exponentials(r, exact);
    multiply_values(kv, exact);
  }

 private:
  double* logits(int64_t row) { return logits_.data() + row * call_.key.rows; }
  int64_t output_row(int64_t row) const { return (first_row_ + row) * call_.query.heads + head_; }

  void multiply_keys(const KvHead& kv) {
    const int64_t n = call_.key.rows;
    for (int64_t block = 0; block < n; block += kKeyBlock) {
      const int64_t end = std::min(n, block + kKeyBlock);
      for (int64_t d = 0; d < call_.key.dim; ++d) {
        const double* key = kv.keys.data() + d * n;
        for (int64_t r = 0; r < rows_; ++r) {
          const double q = element(call_.query, head_, first_row_ + r, d) * call_.scale;
          double* out = logits(r);
          for (int64_t j = block; j < end; ++j) out[j] += q * key[j];
        }
      }
    }
  }

  // Turns a row's logits into exp(logit - max).
  void exponentials(int64_t row, ExactAttention& exact) {
    const int64_t n = call_.key.rows;
    double* x = logits(row);
    double max = -kInfinity;
    for (int64_t j = 0; j < n; ++j) {
      if (call_.logit_softcap > 0) {
        x[j] = call_.logit_softcap * std::tanh(x[j] / call_.logit_softcap);
      }
      x[j] += bias(call_, head_, first_row_ + row, j);
      max = std::max(max, x[j]);
    }
    if (max == -kInfinity) {  // sees nothing
      std::fill(x, x + n, 0.0);
      exact.log_sum[static_cast<size_t>(output_row(row))] = -kInfinity;
      return;
    }
    double sum = 0;
    for (int64_t j = 0; j < n; ++j) sum += x[j] = std::exp(x[j] - max);
    exact.log_sum[static_cast<size_t>(output_row(row))] = max + std::log(sum);
    if (call_.sink_logits != nullptr) sum += std::exp(call_.sink_logits[head_] - max);
    sums_[static_cast<size_t>(row)] = sum;
  }

  void multiply_values(const KvHead& kv, ExactAttention& exact) {
    const int64_t dim = call_.value.dim;
    for (int64_t block = 0; block < call_.key.rows; block += kKeyBlock) {
      const int64_t end = std::min(call_.key.rows, block + kKeyBlock);
      for (int64_t r = 0; r < rows_; ++r) {
        double* out = exact.output.data() + output_row(r) * dim;
        for (int64_t j = block; j < end; ++j) {
          const double weight = logits(r)[j];
          if (weight == 0) continue;
          const double* value = kv.values.data() + j * dim;
          for (int64_t d = 0; d < dim; ++d) out[d] += weight * value[d];
        }
      }
    }
    for (int64_t r = 0; r < rows_; ++r) {
      const double sum = sums_[static_cast<size_t>(r)];
      double* out = exact.output.data() + output_row(r) * dim;
      for (int64_t d = 0; d < dim; ++d) out[d] = sum > 0 ? out[d] / sum : 0;
    }
  }

  const AttentionCall& call_;
  int64_t head_;
  int64_t first_row_;
  int64_t rows_;
  std::vector<double> logits_;  // [rows][n_kv]
  std::vector<double> sums_;
};

// The call with values of 1, D_v = 16, and sink logits. Views this object's memory.
class OnesProblem {
 public:
  OnesProblem(const AttentionCall& call, std::vector<float> sinks)
      : sinks_(std::move(sinks)),
        output_(static_cast<size_t>(call.query.rows * call.query.heads * kDim)),
        call_(call) {
    call_.value = {ones_.data(), ElementType::kF16, call.key.heads, call.key.rows, kDim, 0, 0};
    call_.output = {output_.data(),
                    call.query.heads,
                    call.query.rows,
                    kDim,
                    kDim * int64_t{sizeof(float)},
                    call.query.heads * kDim * int64_t{sizeof(float)}};
    call_.sink_logits = sinks_.data();
  }
  OnesProblem(const OnesProblem&) = delete;
  OnesProblem& operator=(const OnesProblem&) = delete;

  void run(Engine& engine) {
    if (const Status status = engine.attend(call_); !status.ok()) {
      throw tool::Failure("the engine failed: " + status.message());
    }
  }
  float sink(int64_t head) const { return sinks_[static_cast<size_t>(head)]; }
  /// log of the exponentials kept, of one (row, head).
  double log_kept(int64_t index, int64_t head) const {
    const double share = output_[static_cast<size_t>(index * kDim)];
    return sink(head) + std::log(share / (1 - share));
  }

 private:
  static constexpr int64_t kDim = 16;

  std::vector<float> sinks_;
  std::vector<uint16_t> ones_ = std::vector<uint16_t>(kDim, 0x3C00);
  std::vector<float> output_;
  AttentionCall call_;
};

// Within this distance of the sink, K / (K + e^s) is far enough from 0 and 1 for f32.
constexpr double kSinkReach = 4;

// Per head, where sinks must start and how many, 2 · kSinkReach apart, reach all its rows.
struct SinkGrid {
  std::vector<float> lowest;
  int count = 1;
};

SinkGrid sink_grid(const ExactAttention& exact, int64_t heads) {
  SinkGrid grid;
  for (int64_t head = 0; head < heads; ++head) {
    double low = kInfinity;
    double high = -kInfinity;
    for (size_t i = static_cast<size_t>(head); i < exact.log_sum.size();
         i += static_cast<size_t>(heads)) {
      if (exact.log_sum[i] == -kInfinity) continue;
      low = std::min(low, exact.log_sum[i]);
      high = std::max(high, exact.log_sum[i]);
    }
    if (low > high) low = high = 0;  // no row sees anything
    grid.lowest.push_back(static_cast<float>(low + kSinkReach));
    grid.count = std::max(grid.count, static_cast<int>((high - low) / (2 * kSinkReach)) + 1);
  }
  return grid;
}

}  // namespace

ExactAttention exact_attention(const AttentionCall& call, Executor& executor,
                               const std::function<void()>& on_head) {
  ExactAttention exact;
  exact.output.assign(static_cast<size_t>(call.query.rows * call.query.heads * call.value.dim), 0);
  exact.log_sum.assign(static_cast<size_t>(call.query.rows * call.query.heads), 0);
  const int64_t group = call.query.heads / call.key.heads;
  const int64_t tiles = (call.query.rows + kTileRows - 1) / kTileRows;
  for (int64_t kv_head = 0; kv_head < call.key.heads; ++kv_head) {
    const KvHead kv(call, kv_head);
    executor.run(tiles * group, [&](int64_t task, int /*thread*/) {
      ExactTile(call, kv_head * group + task % group, task / group * kTileRows).run(kv, exact);
    });
    on_head();
  }
  return exact;
}

double relative_error(std::span<const float> output, const ExactAttention& exact) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < output.size(); ++i) {
    difference += std::pow(output[i] - exact.output[i], 2);
    norm += std::pow(exact.output[i], 2);
  }
  return norm > 0 ? std::sqrt(difference / norm) : 0;
}

std::vector<double> retained_mass(Engine& engine, const AttentionCall& call,
                                  const ExactAttention& exact) {
  const int64_t heads = call.query.heads;
  const SinkGrid grid = sink_grid(exact, heads);
  std::vector<double> mass(exact.log_sum.size());
  for (int pass = 0; pass < grid.count; ++pass) {
    std::vector<float> sinks = grid.lowest;
    for (float& sink : sinks) sink += static_cast<float>(2 * kSinkReach * pass);
    OnesProblem ones(call, std::move(sinks));
    ones.run(engine);
    for (size_t i = 0; i < mass.size(); ++i) {
      if (exact.log_sum[i] == -kInfinity) continue;
      const auto head = static_cast<int64_t>(i) % heads;
      // A row belongs to the first sink that reaches it.
      const double offset = exact.log_sum[i] - grid.lowest[static_cast<size_t>(head)];
      const auto wanted = std::max(0, static_cast<int>((offset + kSinkReach) / (2 * kSinkReach)));
      if (std::min(wanted, grid.count - 1) != pass) continue;
      mass[i] = std::exp(ones.log_kept(static_cast<int64_t>(i), head) - exact.log_sum[i]);
    }
  }
  std::vector<double> seen;
  for (size_t i = 0; i < mass.size(); ++i) {
    if (exact.log_sum[i] != -kInfinity) seen.push_back(mass[i]);
  }
  return seen;
}

}  // namespace shadowattn::bench
