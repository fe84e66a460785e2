#include "paper/timing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core_choice.h"
#include "progress.h"
#include "statistics.h"
#include "text.h"

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

std::vector<CoreSetup> core_setups(const std::vector<int>& usable) {
  std::vector<CoreSetup> setups;
  if (usable.size() < 2) {
    setups.push_back({kOneCore, "one CPU core", {usable.front()}, -1});
    return setups;
  }
  setups.push_back({kOneCore, "one CPU core; npu-sim on another", {usable.front()}, usable[1]});
  setups.push_back({kTwoCores, "two CPU cores, no device", {usable[0], usable[1]}, -1});
  return setups;
}

std::string missing_setups(const std::vector<int>& usable) {
  if (usable.size() > 1) return "";
  return "Only one core can be used here: without another one there is none to play npu-sim on, "
         "and none for two CPU cores, so these were not measured.";
}

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

std::string operands_text(const Json& operands) {
  const auto count = [&](const char* key) { return format_count(operands.value(key, int64_t{0})); };
  return count("heads") + " query heads, " + count("kv_heads") + " KV heads, head dim " +
         count("dim") + ", " + count("rows") + " query rows";
}

const Json* find_setup(const Json& values, const std::string& id) {
  const auto setups = values.find("setups");
  if (setups == values.end()) return nullptr;
  for (const Json& setup : *setups) {
    if (setup.value("id", "") == id) return &setup;
  }
  return nullptr;
}

const Json* find_method(const Json& setup, const std::string& id) {
  const auto methods = setup.find("methods");
  if (methods == setup.end()) return nullptr;
  for (const Json& method : *methods) {
    if (method.value("id", "") == id) return &method;
  }
  return nullptr;
}

double figure(const Json& values, const std::string& setup, const std::string& method,
              const std::string& key) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const Json* found = find_setup(values, setup);
  if (found != nullptr) found = find_method(*found, method);
  if (found == nullptr) return kNone;
  const auto value = found->find(key);
  return value != found->end() && value->is_number() ? value->get<double>() : kNone;
}

double time_ratio(const Json& values, const std::string& setup, const std::string& method,
                  const std::string& other) {
  const auto samples = [&](const std::string& id) {
    const Json* found = find_setup(values, setup);
    if (found != nullptr) found = find_method(*found, id);
    return found == nullptr ? std::vector<double>()
                            : found->value("wall_ns", std::vector<double>());
  };
  const double ratio = median_of_ratios(samples(method), samples(other));
  return ratio > 0 ? ratio : std::numeric_limits<double>::quiet_NaN();
}

std::string method_label(const std::string& id) {
  static const std::map<std::string, std::string> labels = {
      {"llama", "llama.cpp (C/G-Full)"},
      {"dense", "dense, ours"},
      {"dense-f32", "dense, ours, f32 throughout"},
      {"shadow", "shadow, the CPU estimates"},
      {"shadow-npu", "shadow, npu-sim estimates"},
      {"shadow-own", "shadow, CPU, a list per row and head"},
      {"sparse-f32", "C/G-Sparse (sparse-f32)"},
      {"block", "C/G-Block-Sparse (block)"},
      {"npu-int8", "NPU-Full (npu-int8), played on the CPU"},
  };
  const auto found = labels.find(id);
  return found == labels.end() ? id : found->second;
}

std::string milliseconds_text(double nanoseconds) {
  if (!std::isfinite(nanoseconds)) return "-";
  const double ms = nanoseconds / 1e6;
  return format_fixed(ms, ms < 1 ? 3 : ms < 100 ? 2 : 1);
}

std::string ratio_text(double ratio) { return std::isfinite(ratio) ? format_fixed(ratio, 2) : "-"; }

std::string range_text(const std::vector<double>& ratios) {
  std::vector<double> finite;
  std::copy_if(ratios.begin(), ratios.end(), std::back_inserter(finite),
               [](double ratio) { return std::isfinite(ratio); });
  if (finite.empty()) return "-";
  const auto [low, high] = std::minmax_element(finite.begin(), finite.end());
  const std::string least = ratio_text(*low);
  const std::string most = ratio_text(*high);
  return least == most ? least : least + " to " + most;
}

}  // namespace shadowattn::tool::paper
