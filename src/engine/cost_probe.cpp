#include "engine/cost_probe.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "kernels/half.h"
#include "kernels/simd/load_row.h"
#include "plan/list_plan.h"

namespace shadowattn {
namespace {

// Keys and values of one head then fill a second-level cache, as those of long contexts do.
constexpr int64_t kKeys = 4096;
constexpr int64_t kLists = 2;

/// Runs everything on the calling thread.
class InlineExecutor : public Executor {
 public:
  int threads() const override { return 1; }
  void run(int64_t count, const std::function<void(int64_t, int)>& task) override {
    for (int64_t index = 0; index < count; ++index) task(index, 0);
  }
};

/// Numbers in [-2, 2), the same on every machine.
class Noise {
 public:
  float next() {
    state_ = state_ * 1664525U + 1013904223U;
    return static_cast<float>(state_ >> 8) * 0x1p-22F - 2.0F;
  }

 private:
  uint32_t state_ = 1;
};

/// Real queries and keys meet in some three quarters of their dimensions (pilot/score_basis.h): the
/// last quarter of each row is this much smaller.
constexpr float kLastQuarter = 0.25F;
float spread(int64_t d, int64_t dim) { return 4 * (d % dim) < 3 * dim ? 1.0F : kLastQuarter; }

/// One KV head of made-up operands. The lists that come of them are as scattered as lists get.
class ProbeCall {
 public:
  ProbeCall(const CostShape& shape, int64_t most_rows)
      : shape_(shape),
        query_(static_cast<size_t>(most_rows * shape.group_heads * shape.dim)),
        key_(bytes(shape.key_type, shape.dim)),
        value_(bytes(shape.value_type, shape.value_dim)),
        output_(static_cast<size_t>(most_rows * shape.group_heads * shape.value_dim)) {
    Noise noise;
    for (size_t i = 0; i < query_.size(); ++i) {
      query_[i] = noise.next() * spread(static_cast<int64_t>(i), shape.dim);
    }
    fill(shape.key_type, shape.dim, noise, key_);
    fill(shape.value_type, shape.value_dim, noise, value_);
  }

  AttentionCall call(int64_t rows) {
    AttentionCall c;
    const int64_t heads = shape_.group_heads;
    c.query = {query_.data(),  ElementType::kF32,     heads, rows, shape_.dim,
               shape_.dim * 4, heads * shape_.dim * 4};
    c.key = view(shape_.key_type, key_, shape_.dim);
    c.value = view(shape_.value_type, value_, shape_.value_dim);
    c.output = {output_.data(),
                heads,
                rows,
                shape_.value_dim,
                shape_.value_dim * 4,
                heads * shape_.value_dim * 4};
    c.mask.kind = MaskKind::kCausal;
    c.mask.causal_offset = kKeys - rows;
    c.scale = 1.0F / std::sqrt(static_cast<float>(shape_.dim));
    return c;
  }

 private:
  static size_t bytes(ElementType type, int64_t dim) {
    return static_cast<size_t>(kKeys * row_bytes(type, dim));
  }
  static void fill(ElementType type, int64_t dim, Noise& noise, std::vector<char>& out) {
    const auto next = [&](size_t i) { return noise.next() * spread(static_cast<int64_t>(i), dim); };
    if (type == ElementType::kQ8_0) {
      size_t element = 0;
      for (size_t i = 0; i < out.size(); ++i) {
        const uint16_t scale = float_to_half(0.015F);
        const size_t at = i % kQ8BlockBytes;
        out[i] = at < sizeof scale ? static_cast<char>(scale >> 8 * at)
                                   : static_cast<char>(std::lrint(63.0F * next(element++)));
      }
      return;
    }
    if (type == ElementType::kF16) {
      auto* half = reinterpret_cast<uint16_t*>(out.data());
      for (size_t i = 0; i < out.size() / 2; ++i) half[i] = float_to_half(next(i));
      return;
    }
    auto* value = reinterpret_cast<float*>(out.data());
    for (size_t i = 0; i < out.size() / 4; ++i) value[i] = next(i);
  }
  static TensorView view(ElementType type, const std::vector<char>& data, int64_t dim) {
    return {data.data(),         type, 1, kKeys, dim, static_cast<int64_t>(data.size()),
            row_bytes(type, dim)};
  }

  CostShape shape_;
  std::vector<float> query_;
  std::vector<char> key_;
  std::vector<char> value_;
  std::vector<float> output_;
};

/// Shortest time of a few calls, in nanoseconds: what disturbs a call only makes it longer.
Result<double> time_call(EngineOptions options, const AttentionCall& call,
                         CallReport* report = nullptr) {
  constexpr int kRuns = 4;             // the first one warms up
  constexpr double kLongEnough = 5e6;  // slow kernels need no repetition
  InlineExecutor executor;
  options.gate = false;
  options.device = {};
  Result<Engine> engine = Engine::create(options, &executor);
  if (!engine.ok()) return engine.status();
  double shortest = 1e300;
  for (int run = 0; run < kRuns; ++run) {
    const auto start = std::chrono::steady_clock::now();
    if (Status status = engine.value().attend(call, report); !status.ok()) return status;
    const double ns =
        std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
    shortest = std::min(shortest, ns);
    if (shortest > kLongEnough) break;
  }
  return shortest;
}

/// From the nanoseconds per key of one row and of sixteen: they differ by fifteen rows of pairs;
/// what is left is the keys.
void set_dense(double one, double sixteen, const CostShape& shape, CostModel* model) {
  const auto heads = static_cast<double>(shape.group_heads);
  model->dense_pair = std::max(sixteen - one, 0.0) / (15.0 * heads);
  model->dense_key = std::max(one - model->dense_pair * heads, 0.0);
}

}  // namespace

Result<CostModel> measure_costs(const EngineOptions& options, const CostShape& shape,
                                const CostModel* dense_costs) {
  const int64_t list_rows = options.rows_per_list;
  const int64_t rows = kLists * list_rows;
  ProbeCall probe(shape, std::max<int64_t>(rows, 16));
  EngineOptions dense = options;
  dense.mode = Mode::kDense;
  EngineOptions few = options;
  few.mode = Mode::kShadow;
  few.keep = 0.1;
  few.attn_error = 0.0;
  few.keep_floor = 0;
  few.sample_every = 0;
  few.profile = nullptr;
  EngineOptions many = few;
  many.keep = 0.3;

  double times[5] = {};
  const auto time = [&](int i, const EngineOptions& o, int64_t n) -> Status {
    Result<double> t = time_call(o, probe.call(n));
    if (!t.ok()) return t.status();
    times[i] = t.value();
    return {};
  };
  if (dense_costs == nullptr) {
    if (Status s = time(0, dense, 1); !s.ok()) return s;
    if (Status s = time(1, dense, 16); !s.ok()) return s;
  }
  if (Status s = time(2, few, list_rows); !s.ok()) return s;
  if (Status s = time(3, few, rows); !s.ok()) return s;
  if (Status s = time(4, many, rows); !s.ok()) return s;

  const auto keys = static_cast<double>(kKeys);
  const double lists = options.share_heads ? 1.0 : static_cast<double>(shape.group_heads);
  CostModel model = dense_costs != nullptr ? *dense_costs : CostModel();
  if (dense_costs == nullptr) set_dense(times[0] / keys, times[1] / keys, shape, &model);
  // Two shares differ by kept keys, two row counts by a set of lists; the rest is quantising.
  model.list_kept =
      std::max(times[4] - times[3], 0.0) / (0.2 * keys * lists * static_cast<double>(kLists));
  const double per_set = std::max(times[3] - times[2], 0.0) / lists;
  model.list_key = std::max(per_set / keys - 0.1 * model.list_kept, 0.0);
  model.shadow_key =
      std::max(times[2] / keys - lists * (model.list_key + 0.1 * model.list_kept), 0.0);
  return model;
}

Result<CostModel> measure_error_costs(const EngineOptions& options, const CostShape& shape,
                                      int64_t list_rows) {
  CostShape head = shape;  // a list is of one head
  head.group_heads = 1;
  ProbeCall probe(head, kLists * list_rows);
  EngineOptions dense = options;
  dense.mode = Mode::kDense;
  EngineOptions few = options;
  few.mode = Mode::kShadow;
  few.sample_every = 0;
  few.output_error = 0.5;  // of noise; what it keeps is counted
  EngineOptions many = few;
  many.output_error = 0.1;
  struct Timed {
    double ns;
    double kept;  ///< keys per list
  };
  const auto time = [&](const EngineOptions& o, int64_t rows) -> Result<Timed> {
    AttentionCall call = probe.call(rows);
    call.layer = 0;  // the first run finds the energy
    CallReport report;
    Result<double> ns = time_call(o, call, &report);
    if (!ns.ok()) return ns.status();
    return Timed{ns.value(), static_cast<double>(report.kept_pairs) / static_cast<double>(rows)};
  };
  const Result<Timed> one = time(dense, 1);
  if (!one.ok()) return one.status();
  const Result<Timed> tile = time(dense, list_rows);
  if (!tile.ok()) return tile.status();
  const Result<Timed> single = time(few, list_rows);
  if (!single.ok()) return single.status();
  const Result<Timed> twice = time(few, kLists * list_rows);
  if (!twice.ok()) return twice.status();
  const Result<Timed> more = time(many, kLists * list_rows);
  if (!more.ok()) return more.status();

  const auto keys = static_cast<double>(kKeys);
  const auto rows = static_cast<double>(list_rows);
  CostModel model;
  model.dense_pair = std::max(tile.value().ns - one.value().ns, 0.0) / ((rows - 1.0) * keys);
  model.dense_key = std::max(one.value().ns / keys - model.dense_pair, 0.0);
  const double kept = more.value().kept - twice.value().kept;
  if (kept > 0.0) {
    model.list_kept =
        std::max(more.value().ns - twice.value().ns, 0.0) / (kept * static_cast<double>(kLists));
  }
  const double list = std::max(twice.value().ns - single.value().ns, 0.0);
  model.list_key = std::max(list - twice.value().kept * model.list_kept, 0.0) / keys;
  model.shadow_key =
      std::max(single.value().ns - single.value().kept * model.list_kept, 0.0) / keys -
      model.list_key;
  model.shadow_key = std::max(model.shadow_key, 0.0);
  return model;
}

}  // namespace shadowattn
