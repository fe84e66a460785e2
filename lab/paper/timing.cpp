#include "paper/timing.h"

#include <cmath>

#include "common/core_choice.h"
#include "common/progress.h"
#include "common/statistics.h"

namespace shadowattn::tool::paper {
namespace {

using measure::MethodPasses;
using measure::Pass;

constexpr char kSimulation[] = "npu-sim";

std::vector<double> all(const std::vector<Pass>& samples, double Pass::*what) {
  std::vector<double> values;
  values.reserve(samples.size());
  for (const Pass& sample : samples) values.push_back(sample.*what);
  return values;
}

double median_of(const std::vector<Pass>& samples, double Pass::*what) {
  return median(all(samples, what));
}

const MethodPasses* named(const std::vector<MethodPasses>& methods, const std::string& id) {
  for (const MethodPasses& method : methods) {
    if (method.id == id) return &method;
  }
  return nullptr;
}

void add_ratio(const MethodPasses* baseline, const MethodPasses& method, const char* key,
               Json& json) {
  if (baseline == nullptr) return;
  json[key] =
      median_of_ratios(all(baseline->samples, &Pass::wall_ns), all(method.samples, &Pass::wall_ns));
}

Json device_json(const MethodPasses& method) {
  return {{"launches", median_of(method.samples, &Pass::launches)},
          {"late_launches", median_of(method.samples, &Pass::late_launches)},
          {"busy_ns", median_of(method.samples, &Pass::device_busy_ns)},
          {"wait_ns", median_of(method.samples, &Pass::device_wait_ns)},
          {"span_ns", median_of(method.samples, &Pass::device_span_ns)},
          {"simulation_cpu_ns", median_of(method.samples, &Pass::simulation_cpu_ns)},
          {"note", method.note}};
}

void add_energy(const MethodPasses& method, Json& json) {
  std::vector<double> joules;
  for (const Pass& sample : method.samples) {
    if (sample.joules) joules.push_back(*sample.joules);
  }
  if (joules.empty()) return;
  json["joules"] = joules;
  json["median_joules"] = median(joules);
}

Json method_json(const MethodPasses& method, const std::vector<MethodPasses>& methods) {
  const std::vector<Pass>& samples = method.samples;
  Json json = {{"id", method.id},
               {"passes_per_sample", method.passes},
               {"wall_ns", all(samples, &Pass::wall_ns)},
               {"cpu_ns", all(samples, &Pass::cpu_ns)},
               {"median_wall_ns", median_of(samples, &Pass::wall_ns)},
               {"median_cpu_ns", median_of(samples, &Pass::cpu_ns)}};
  add_ratio(named(methods, "llama"), method, "llama_ratio", json);
  add_ratio(named(methods, "dense"), method, "dense_ratio", json);
  add_energy(method, json);
  const double visible = median_of(samples, &Pass::visible_pairs);
  if (visible <= 0) return json;  // ggml
  json["kept_share"] = median_of(samples, &Pass::kept_pairs) / visible;
  json["pilot_ns"] = median_of(samples, &Pass::pilot_ns);
  json["select_ns"] = median_of(samples, &Pass::select_ns);
  json["attend_ns"] = median_of(samples, &Pass::attend_ns);
  json["dense_calls"] = median_of(samples, &Pass::dense_calls);
  if (median_of(samples, &Pass::launches) > 0 || !method.note.empty()) {
    json["device"] = device_json(method);
  }
  return json;
}

}  // namespace

EngineOptions timed_engine(Mode mode, double keep, double attn_error) {
  EngineOptions options;
  options.mode = mode;
  options.keep = keep;
  options.attn_error = attn_error;
  options.gate = false;
  options.sample_every = 0;
  return options;
}

EngineOptions on_npu_sim(EngineOptions options, int core) {
  options.device.name = kSimulation;
  options.device.device_cpu = core;
  return options;
}

std::vector<MethodPasses> time_methods(const CoreSetup& setup, std::span<const RecordedCall> calls,
                                       std::span<const measure::TimedMethod> methods,
                                       const measure::TimingPlan& plan, const std::string& label) {
  constexpr int64_t kSteps = 1000;
  std::vector<MethodPasses> results;
  run_on_cores(setup.cpu, [&] {
    Progress progress(label + ", " + setup.label, kSteps, "");
    const measure::AttentionTimer timer(calls, setup.threads());
    results = timer.measure(methods, plan, [&](double done) {
      progress.update(std::llround(done * static_cast<double>(kSteps)));
    });
  });
  return results;
}

measure::TracedCall trace_call(const CoreSetup& setup, std::span<const RecordedCall> calls,
                               const EngineOptions& options) {
  measure::TracedCall traced;
  run_on_cores(setup.cpu, [&] {
    traced = measure::AttentionTimer(calls.first(1), setup.threads()).trace(options);
  });
  return traced;
}

Json setup_json(const CoreSetup& setup, const std::vector<MethodPasses>& methods) {
  Json json = {{"id", setup.id},
               {"label", setup.label},
               {"threads", setup.threads()},
               {"device", setup.device >= 0},
               {"methods", Json::array()}};
  for (const MethodPasses& method : methods) {
    json["methods"].push_back(method_json(method, methods));
  }
  return json;
}

Json operands_json(std::span<const RecordedCall> calls) {
  const RecordedCall& first = calls.front();
  const auto extent = [](const OwnedTensor& tensor, size_t dimension) {
    return dimension < tensor.shape.size() ? tensor.shape[dimension] : 1;
  };
  Json layers = Json::array();
  for (const RecordedCall& call : calls) layers.push_back(call.layer);
  return {{"heads", extent(first.q, 2)}, {"kv_heads", extent(first.k, 2)},
          {"dim", extent(first.k, 0)},   {"value_dim", extent(first.v, 0)},
          {"rows", extent(first.q, 1)},  {"keys", extent(first.k, 1)},
          {"layers", std::move(layers)}};
}

}  // namespace shadowattn::tool::paper
