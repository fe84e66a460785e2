// What the pipeline, fused heads and the estimate on a device are worth, by time.
#include <array>

#include "common/files.h"
#include "common/text.h"
#include "paper/ablation_times_chapter.h"
#include "paper/experiments.h"
#include "paper/published.h"
#include "paper/recorded_calls.h"
#include "paper/timing.h"

namespace shadowattn::tool::paper {
namespace {

using measure::RandomShape;
using measure::TimedMethod;
using measure::TimingPlan;

constexpr char kSocFile[] = "soc/snapdragon-8gen3.json";
constexpr int64_t kKeys = 4096;  // the SoC's graphs end at 4,160 keys
constexpr int64_t kQuickKeys = 2048;
constexpr int kMostLayers = 1;

/// What is measured in one part.
struct Case {
  std::string id;
  std::string label;
  RandomShape shape;      ///< of random operands; `keys` is set later
  bool recorded = false;  ///< the model's operands instead
  bool soc = false;       ///< npu-sim plays the times of the SoC file
};

std::vector<Case> cases(const Workbench& workbench) {
  const RandomShape qwen;
  const RandomShape phone_lm = {.heads = 16, .kv_heads = 16, .dim = 64};
  std::vector<Case> all = {
      {"qwen2-0.5b", "Qwen2-0.5B's shape", qwen},
      {"qwen2-0.5b-8gen3", "Qwen2-0.5B's shape, times of a Snapdragon 8 Gen 3", qwen, false, true}};
  if (workbench.quick) return all;
  all.push_back({"phonelm-0.5b", "PhoneLM-0.5B's shape", phone_lm});
  all.push_back({"phonelm-0.5b-8gen3", "PhoneLM-0.5B's shape, times of a Snapdragon 8 Gen 3",
                 phone_lm, false, true});
  if (!workbench.lengths().empty()) {
    all.push_back({"recorded", "the model's operands", {}, true, false});
  }
  return all;
}

EngineOptions cpu_estimate() {
  EngineOptions options = timed_engine(Mode::kShadow, published::kKeep, 0);
  options.keep_floor = 1;
  return options;
}

EngineOptions device_estimate(const CoreSetup& setup, const Case& what, PipelineMode pipeline,
                              int32_t fuse_heads) {
  EngineOptions options = on_npu_sim(cpu_estimate(), setup.device);
  options.device.pipeline = pipeline;
  options.device.fuse_heads = fuse_heads;
  if (what.soc) options.device.soc = data_file(kSocFile).string();
  return options;
}

std::vector<TimedMethod> methods_for(const CoreSetup& setup, const Case& what) {
  EngineOptions dense = cpu_estimate();
  dense.mode = Mode::kDense;
  std::vector<TimedMethod> methods = {{"dense", dense}, {"shadow", cpu_estimate()}};
  if (setup.device < 0) return methods;
  struct Pipeline {
    const char* id;
    PipelineMode mode;
  };
  constexpr std::array kPipelines = {Pipeline{"off", PipelineMode::kOff},
                                     Pipeline{"fifo", PipelineMode::kFifo},
                                     Pipeline{"planned", PipelineMode::kPlanned}};
  for (const Pipeline& pipeline : kPipelines) {
    methods.push_back({pipeline.id, device_estimate(setup, what, pipeline.mode, 0)});
    methods.push_back(
        {std::string(pipeline.id) + "-one-head", device_estimate(setup, what, pipeline.mode, 1)});
  }
  return methods;
}

Json timeline_json(const CoreSetup& setup, std::span<const RecordedCall> calls, const Case& what,
                   PipelineMode pipeline) {
  const measure::TracedCall traced =
      trace_call(setup, calls, device_estimate(setup, what, pipeline, 0));
  Json events = Json::array();
  for (const TraceEvent& event : traced.events) {
    events.push_back({{"stage", name_of(event.stage)},
                      {"unit", event.lane},
                      {"start_ns", event.start_ns - traced.start_ns},
                      {"end_ns", event.end_ns - traced.start_ns}});
  }
  return {{"wall_ns", traced.end_ns - traced.start_ns}, {"events", std::move(events)}};
}

std::vector<RecordedCall> operands(const Workbench& workbench, const Case& what) {
  int64_t keys = workbench.quick ? kQuickKeys : kKeys;
  if (!what.recorded) {
    RandomShape shape = what.shape;
    shape.keys = keys;
    return {measure::random_call(shape)};
  }
  for (const int64_t length : workbench.lengths()) {
    if (length <= kKeys) keys = length;
  }
  return record_calls(workbench, keys, kChunkRows, kMostLayers);
}

Json measure(const Workbench& workbench, const Case& what) {
  const MeasuringCores cores = measuring_cores();
  const CoreSetup setup = core_setups(cores).front();
  const std::vector<RecordedCall> calls = operands(workbench, what);
  TimingPlan plan;
  plan.rounds = workbench.quick ? 3 : 7;
  Json values = {
      {"label", what.label},
      {"operands", operands_json(calls)},
      {"keep", published::kKeep},
      {"soc", what.soc ? kSocFile : ""},
      {"setups", Json::array({setup_json(setup, time_methods(setup, calls, methods_for(setup, what),
                                                             plan, what.label))})},
      {"cores_note", cores_note(cores)}};
  if (setup.device < 0) return values;
  values["timelines"] = {{"planned", timeline_json(setup, calls, what, PipelineMode::kPlanned)},
                         {"off", timeline_json(setup, calls, what, PipelineMode::kOff)}};
  return values;
}

std::vector<Part> parts(const Workbench& workbench) {
  std::vector<Part> all;
  for (const Case& what : cases(workbench)) {
    all.push_back({what.id, what.label, workbench.quick ? 3.0 : 5.0,
                   [what](const Workbench& w) { return measure(w, what); }});
  }
  return all;
}

}  // namespace

Experiment ablation_times_experiment() {
  return {"ablation-times",
          "What the pipeline and fused heads save",
          "ablation, and the example of NPU times",
          "One attention call of 512 query rows with 20 % of the tokens kept, on one CPU core with "
          "npu-sim on another: one launch at a time, launches ahead in order (fifo), and ahead in "
          "the planned order; all KV heads in one launch as far as the device takes them, or one "
          "head per launch; and the estimate on the CPU, without a device. Once npu-sim is as fast "
          "as a core of this machine, and once it waits as long as a Snapdragon 8 Gen 3 would by "
          "published figures (soc/snapdragon-8gen3.json), while everything else runs at this "
          "machine's speed. Neither is a phone.",
          parts,
          ablation_times_chapter};
}

}  // namespace shadowattn::tool::paper
