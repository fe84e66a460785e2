#include "simulate/plan_table.h"

#include <algorithm>
#include <array>

#include "common/failure.h"
#include "simulate/attention_call.h"

namespace shadowattn::tool::simulate {
namespace {

constexpr std::array<const char*, 2> kLargerModels = {"qwen2.5-3b", "qwen2.5-7b"};
constexpr std::array<int64_t, 3> kLengths = {4096, 32768, 131072};
constexpr std::array<double, 3> kNpuSpeeds = {1, 2, 4};

/// One change to how a prompt is read.
struct Change {
  const char* what;
  void (*apply)(const SocModel& soc, const ModelShape& shape, PrefillOptions& options);
};

void use_all_middle_cores(const SocModel& soc, const ModelShape& /*shape*/, PrefillOptions& o) {
  o.core = CoreKind::kMiddle;
  o.cores = soc.rates.middle_cores;
  o.dense_cores = soc.rates.middle_cores;
}

void shorten_launches(const SocModel& soc, const ModelShape& /*shape*/, PrefillOptions& o) {
  o.launch_ms = (o.launch_ms >= 0 ? o.launch_ms : soc.graph_times.launch_ns / 1e6) / 10;
}

void halve_sparse_share(const SocModel& /*soc*/, const ModelShape& shape, PrefillOptions& o) {
  const auto sparse_layers = static_cast<double>(shape.layers - o.dense_layers);
  o.keep -= sparse_share(shape, o) / 2 * sparse_layers / static_cast<double>(shape.layers);
}

void make_all_layers_sparse(const SocModel& /*soc*/, const ModelShape& shape, PrefillOptions& o) {
  o.keep = sparse_share(shape, o);
  o.dense_layers = 0;
}

constexpr Change kChanges[] = {
    {"the NPU 4 times as fast", [](const auto&, const auto&, auto& o) { o.npu_speed *= 4; }},
    {"launches of a tenth of the time", shorten_launches},
    {"all middle cores", use_all_middle_cores},
    {"sparse layers keep half as much", halve_sparse_share},
    {"no dense layers", make_all_layers_sparse},
    {"chunks twice as long", [](const auto&, const auto&, auto& o) { o.chunk *= 2; }},
    {"all heads and rows in a launch",
     [](const auto&, const auto&, auto& o) { o.launches = Launches::kPublished; }},
    {"no pipeline", [](const auto&, const auto&, auto& o) { o.pipeline = PipelineMode::kOff; }},
    {"the paper's graphs on the NPU",
     [](const auto&, const auto&, auto& o) { o.pilot = Pilot::kGraph; }},
    {"the estimate on the CPU", [](const auto&, const auto&, auto& o) { o.pilot = Pilot::kCpu; }},
};

/// Says how far the plan is.
class Steps {
 public:
  Steps(const Step& step, size_t all) : step_(step), all_(static_cast<int64_t>(all)) {}

  void next() { step_(++begun_ - 1, all_); }
  /// For within a prediction.
  Step same() const {
    return [this](int64_t /*chunk*/, int64_t /*chunks*/) { step_(begun_ - 1, all_); };
  }

 private:
  const Step& step_;
  int64_t all_;
  int64_t begun_ = 0;
};

std::vector<ModelShape> models_to_plan(const ModelShape& shape) {
  std::vector<ModelShape> models = {shape};
  for (const char* name : kLargerModels) {
    const ModelShape larger = parse_shape(name);
    if (!larger.same_shape(shape)) models.push_back(larger);
  }
  return models;
}

std::vector<int64_t> lengths_to_plan(const PrefillOptions& options) {
  std::vector<int64_t> lengths(kLengths.begin(), kLengths.end());
  lengths.push_back(options.context);
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  return lengths;
}

PlanCase plan_case(const SocModel& soc, const ModelShape& shape, PrefillOptions options,
                   const Step& step) {
  PlanCase one;
  one.model = shape.name;
  one.tokens = options.context;
  one.npu_speed = options.npu_speed;
  one.prediction = predict_prefill(soc, shape, options, step);
  options.pilot = Pilot::kCpu;
  one.cpu_pilot_ns = predict_prefill(soc, shape, options, step).ttft_ns();
  options.attention = Attention::kDense;
  one.dense_ns = predict_prefill(soc, shape, options, step).ttft_ns();
  return one;
}

/// Whether predictions are possible there; what they would throw must not hide what `step` throws.
bool possible(const SocModel& soc, const ModelShape& shape, const PrefillOptions& options) {
  try {
    check_options(soc, shape, options);
    if (options.pilot != Pilot::kCpu) cut_call(soc, shape, options, options.context - 1, 1);
    return true;
  } catch (const Failure&) {
    return false;
  }
}

/// TTFT after a change over that before; 0 when the change is not possible there.
double ttft_ratio(const SocModel& soc, const ModelShape& shape, const PrefillOptions& before,
                  const Change& change, const Step& step) {
  PrefillOptions after = before;
  change.apply(soc, shape, after);
  if (!possible(soc, shape, after)) return 0;
  return predict_prefill(soc, shape, after, step).ttft_ns() /
         predict_prefill(soc, shape, before, step).ttft_ns();
}

}  // namespace

Plan make_plan(const SocModel& soc, const ModelShape& shape, const PrefillOptions& options,
               const Step& step) {
  const std::vector<ModelShape> models = models_to_plan(shape);
  Plan plan;
  plan.lengths = lengths_to_plan(options);
  const size_t all = models.size() * plan.lengths.size() * kNpuSpeeds.size() +
                     std::size(kChanges) * plan.lengths.size();
  Steps steps(step, all);
  PrefillOptions varied = options;
  for (const ModelShape& model : models) {
    for (const int64_t tokens : plan.lengths) {
      for (const double speed : kNpuSpeeds) {
        steps.next();
        varied.context = tokens;
        varied.npu_speed = options.npu_speed * speed;
        plan.cases.push_back(plan_case(soc, model, varied, steps.same()));
      }
    }
  }
  varied.npu_speed = options.npu_speed;
  for (const Change& change : kChanges) {
    PlanChange planned = {change.what, {}};
    for (const int64_t tokens : plan.lengths) {
      steps.next();
      varied.context = tokens;
      planned.ttft_ratios.push_back(ttft_ratio(soc, shape, varied, change, steps.same()));
    }
    plan.changes.push_back(planned);
  }
  return plan;
}

}  // namespace shadowattn::tool::simulate
