// Processor time and energy.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <memory>

#include "common/core_choice.h"
#include "common/failure.h"
#include "common/process_usage.h"
#include "common/progress.h"
#include "common/statistics.h"
#include "common/text.h"
#include "eval/methods.h"
#include "measure/energy_counter.h"
#include "paper/energy_chapter.h"
#include "paper/experiments.h"
#include "paper/published.h"
#include "paper/recorded_calls.h"
#include "paper/timing.h"

namespace shadowattn::tool::paper {
namespace {

using Clock = std::chrono::steady_clock;
using measure::TimedMethod;
using measure::TimingPlan;

constexpr std::array<int64_t, 2> kLengths = {1024, 4096};  // the first is Table 8's
constexpr int64_t kLongestPrompt = 4096;
/// Counters are renewed about once a millisecond, and other programs are counted too.
constexpr double kCountedSampleNs = 300e6;

Json counter_json(const EnergyCounter& counter) {
  return {{"available", counter.available()},
          {"packages", counter.packages()},
          {"missing", counter.missing()}};
}

std::vector<TimedMethod> call_methods(const CoreSetup& setup) {
  const auto engine = [](Mode mode) {
    EngineOptions options = timed_engine(mode, published::kKeep, 0);
    options.keep_floor = 1;
    return options;
  };
  std::vector<TimedMethod> methods = {{"llama", {}},
                                      {"sparse-f32", engine(Mode::kSparseF32)},
                                      {"block", engine(Mode::kBlock)},
                                      {"npu-int8", engine(Mode::kNpuInt8)},
                                      {"dense", engine(Mode::kDense)},
                                      {"shadow", engine(Mode::kShadow)}};
  if (setup.device >= 0) {
    methods.push_back({"shadow-npu", on_npu_sim(engine(Mode::kShadow), setup.device)});
  }
  return methods;
}

// As many query rows as keys: the paper's kernel of that length.
Json measure_call(const Workbench& workbench, int64_t length) {
  const EnergyCounter counter;
  const CoreSetup setup = core_setups(measuring_cores()).front();
  TimingPlan plan;
  plan.rounds = workbench.quick ? 2 : 5;
  if (counter.available()) {
    plan.energy = &counter;
    plan.least_sample_ns = kCountedSampleNs;
  }
  const std::vector<RecordedCall> calls = {measure::random_call({.keys = length, .rows = length})};
  const auto times = time_methods(setup, calls, call_methods(setup), plan,
                                  "a call of " + format_count(length) + " tokens");
  return {{"operands", operands_json(calls)},
          {"length", length},
          {"counter", counter_json(counter)},
          {"setups", Json::array({setup_json(setup, times)})}};
}

/// What reading one prompt used.
struct Usage {
  std::vector<double> wall_s;
  std::vector<double> cpu_s;
  std::vector<double> joules;
};

eval::Method prompt_method(const std::string& name, bool enabled, Mode mode, bool paper_dial) {
  eval::Method method{name, {}};
  method.config.enabled = enabled;
  method.config.engine.mode = mode;
  method.config.min_rows = 1;
  if (paper_dial) {
    method.config.engine.keep = published::kKeep;
    method.config.engine.attn_error = 0;
    method.config.engine.output_error = 0;
    method.config.engine.gate = false;
  }
  return method;
}

std::vector<eval::Method> prompt_methods() {
  return {prompt_method("llama", false, Mode::kDense, false),
          prompt_method("dense", true, Mode::kDense, false),
          prompt_method("shadow", true, Mode::kShadow, false),
          prompt_method("shadow-0.2", true, Mode::kShadow, true)};
}

/// Prompts read one after the other, for at least as long as a counter needs.
class PromptMeter {
 public:
  PromptMeter(eval::MethodContext& context, std::span<const llama_token> prompt,
              const EnergyCounter& counter)
      : context_(context), prompt_(prompt), counter_(counter) {}

  void add_sample(double least_ns, Usage* usage) {
    EnergyReading energy;
    if (counter_.available()) energy = counter_.read();
    const double cpu_before = cpu_seconds();
    const Clock::time_point start = Clock::now();
    int prompts = 0;
    double wall = 0;
    do {
      context_.append(prompt_);
      context_.truncate(0);
      ++prompts;
      wall = std::chrono::duration<double>(Clock::now() - start).count();
    } while (wall * 1e9 < least_ns);
    if (usage == nullptr) return;
    usage->wall_s.push_back(wall / prompts);
    usage->cpu_s.push_back((cpu_seconds() - cpu_before) / prompts);
    if (!counter_.available()) return;
    usage->joules.push_back(counter_.joules(energy, counter_.read()) / prompts);
  }

 private:
  eval::MethodContext& context_;
  std::span<const llama_token> prompt_;
  const EnergyCounter& counter_;
};

// In turns; the first round warms up.
std::vector<Usage> read_prompts(const eval::Workplace& place,
                                const std::vector<eval::Method>& methods,
                                std::span<const llama_token> prompt, int rounds,
                                const EnergyCounter& counter) {
  std::vector<std::unique_ptr<eval::MethodContext>> contexts;
  contexts.reserve(methods.size());
  for (const eval::Method& method : methods) {
    contexts.push_back(
        std::make_unique<eval::MethodContext>(place, method, static_cast<int64_t>(prompt.size())));
  }
  std::vector<Usage> usages(methods.size());
  const double least_ns = counter.available() ? kCountedSampleNs : 0;
  Progress progress("reading prompts", static_cast<int64_t>(methods.size()) * (rounds + 1), "");
  int64_t done = 0;
  for (int round = 0; round <= rounds; ++round) {
    for (size_t i = 0; i < methods.size(); ++i) {
      PromptMeter(*contexts[i], prompt, counter)
          .add_sample(round > 0 ? least_ns : 0, round > 0 ? &usages[i] : nullptr);
      progress.update(++done);
    }
  }
  return usages;
}

Json usage_json(const std::string& id, const Usage& usage) {
  Json json = {{"id", id},
               {"wall_s", usage.wall_s},
               {"cpu_s", usage.cpu_s},
               {"median_wall_s", median(usage.wall_s)},
               {"median_cpu_s", median(usage.cpu_s)}};
  if (usage.joules.empty()) return json;
  json["joules"] = usage.joules;
  json["median_joules"] = median(usage.joules);
  return json;
}

Json measure_prompt(const Workbench& workbench, int64_t length) {
  const EnergyCounter counter;
  const CoreSetup setup = core_setups(measuring_cores()).front();
  const auto windows = workbench.windows(length, 1);
  if (windows.empty()) throw Failure("the text has no " + format_count(length) + " tokens");
  eval::Workplace place = workbench.place;
  place.threads = setup.threads();
  const std::vector<eval::Method> methods = prompt_methods();
  std::vector<Usage> usages;
  const PluginDefaults at_the_end(place.plugin);
  run_on_cores(setup.cpu, [&] {
    usages = read_prompts(place, methods, windows.front(), workbench.quick ? 3 : 5, counter);
  });
  Json all = Json::array();
  for (size_t i = 0; i < methods.size(); ++i) {
    all.push_back(usage_json(methods[i].name, usages[i]));
  }
  return {
      {"length", length},
      {"counter", counter_json(counter)},
      {"setups", Json::array({{{"id", setup.id}, {"label", "one CPU core"}, {"methods", all}}})}};
}

std::vector<Part> parts(const Workbench& workbench) {
  std::vector<Part> all;
  for (const int64_t length : kLengths) {
    if (workbench.quick && length != kLengths.front()) continue;
    all.push_back({"call-" + std::to_string(length),
                   "one attention call of " + format_count(length) + " tokens",
                   4 + std::pow(static_cast<double>(length) / 1024, 2) * 2,
                   [length](const Workbench& w) { return measure_call(w, length); }});
  }
  int64_t prompt = 0;
  for (const int64_t length : workbench.lengths()) {
    if (length <= kLongestPrompt) prompt = std::max(prompt, length);
  }
  if (prompt == 0) return all;
  all.push_back({"prompt", "a prompt of " + format_count(prompt) + " tokens",
                 2 + static_cast<double>(prompt) / 300,
                 [prompt](const Workbench& w) { return measure_prompt(w, prompt); }});
  return all;
}

}  // namespace

Experiment energy_experiment() {
  return {"energy",
          "Processor time and energy",
          "Table 8",
          "Processor time of one attention call (random operands in Qwen2-0.5B's shape, as many "
          "query rows as keys, 20 % kept) and of a prompt on one CPU core, and the energy that the "
          "processor's own counters (RAPL) show meanwhile, where this machine has them and lets "
          "this user read them. Nothing is estimated. The counters are those of whole packages: "
          "cores at rest and other programs are in them, memory is not.\n"
          "The paper multiplies a phone's battery voltage and current. npu-sim is a thread on a "
          "core, so what it draws says nothing of an NPU: its energy is not reported, and its "
          "processor time is not counted.",
          parts,
          energy_chapter};
}

}  // namespace shadowattn::tool::paper
