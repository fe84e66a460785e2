// Latency of one attention call.
#include <algorithm>

#include "common/text.h"
#include "paper/experiments.h"
#include "paper/kernel_chapter.h"
#include "paper/published.h"
#include "paper/recorded_calls.h"
#include "paper/timing.h"

namespace shadowattn::tool::paper {
namespace {

using measure::TimedMethod;
using measure::TimingPlan;

constexpr std::array<int64_t, 5> kKeys = {1024, 2048, 4096, 8192, 16384};
constexpr std::array<int64_t, 2> kQuickKeys = {1024, 2048};
/// The longest of the paper's. Beyond, a call of the slowest baseline takes seconds, in which
/// Ctrl-C would not be heard.
constexpr int64_t kMostBaselineKeys = 4096;
constexpr int64_t kFloatSparseKeys = 4096;
constexpr int64_t kQuickFloatSparseKeys = 2048;
constexpr int kMostLayers = 4;

/// How many tokens are kept, and whether the engine may attend densely where that is faster.
struct Dial {
  double keep = 1;
  double attn_error = 0;
  int32_t keep_floor = 1;
  bool gate = false;
};
constexpr Dial kPaperDial = {published::kKeep, 0, 1, false};

Dial default_dial() {
  const EngineOptions defaults;
  return {defaults.keep, defaults.attn_error, defaults.keep_floor, defaults.gate};
}

TimingPlan plan_for(const Workbench& workbench, int64_t keys) {
  TimingPlan plan;
  plan.rounds = workbench.quick ? 3 : keys <= kMostBaselineKeys ? 7 : 5;
  if (workbench.quick) plan.least_sample_ns = 5e6;
  return plan;
}

std::vector<TimedMethod> methods_for(const CoreSetup& setup, const Dial& dial, bool baselines) {
  const auto engine = [&](Mode mode) {
    EngineOptions options = timed_engine(mode, dial.keep, dial.attn_error);
    options.keep_floor = dial.keep_floor;
    options.gate = dial.gate;
    return options;
  };
  EngineOptions f32 = engine(Mode::kDense);
  f32.precision = Precision::kF32;
  std::vector<TimedMethod> methods = {{"llama", {}},
                                      {"dense", engine(Mode::kDense)},
                                      {"dense-f32", f32},
                                      {"shadow", engine(Mode::kShadow)}};
  if (setup.device >= 0) {
    EngineOptions device = on_npu_sim(engine(Mode::kShadow), setup.device);
    device.gate = false;  // or it would not be used where it does not pay
    methods.push_back({"shadow-npu", device});
  }
  if (!baselines) return methods;
  EngineOptions own = engine(Mode::kShadow);
  own.rows_per_list = 1;
  own.share_heads = false;
  methods.push_back({"shadow-own", own});
  methods.push_back({"sparse-f32", engine(Mode::kSparseF32)});
  methods.push_back({"block", engine(Mode::kBlock)});
  methods.push_back({"npu-int8", engine(Mode::kNpuInt8)});
  return methods;
}

Json measure_calls(const Workbench& workbench, std::span<const RecordedCall> calls, int64_t keys,
                   const Dial& dial) {
  const MeasuringCores cores = measuring_cores();
  Json values = {{"operands", operands_json(calls)}, {"keys", keys},      {"keep", dial.keep},
                 {"attn_error", dial.attn_error},    {"gate", dial.gate}, {"setups", Json::array()},
                 {"cores_note", cores_note(cores)}};
  for (const CoreSetup& setup : core_setups(cores)) {
    const auto methods = methods_for(setup, dial, keys <= kMostBaselineKeys);
    values["setups"].push_back(
        setup_json(setup, time_methods(setup, calls, methods, plan_for(workbench, keys),
                                       format_count(keys) + " keys")));
  }
  return values;
}

// The dense kernel in f32, whose Q·Kᵀ half is what the estimate costs, and attention to lists.
Json measure_float_sparse(const Workbench& workbench, int64_t keys) {
  const CoreSetup setup = core_setups(measuring_cores()).front();
  EngineOptions f32 = timed_engine(Mode::kDense, 1, 0);
  f32.precision = Precision::kF32;
  std::vector<TimedMethod> methods = {{"dense", f32}};
  for (const published::FloatSparse& row : published::kFloatSparse) {
    const std::string keep = format_fixed(row.keep, 1);
    EngineOptions sparse = timed_engine(Mode::kShadow, row.keep, 0);
    sparse.precision = Precision::kF32;
    sparse.keep_floor = kPaperDial.keep_floor;
    methods.push_back({"shared-" + keep, sparse});
    sparse.rows_per_list = 1;
    sparse.share_heads = false;
    methods.push_back({"own-" + keep, sparse});
  }
  const std::vector<RecordedCall> calls = {measure::random_call({.keys = keys})};
  return {
      {"operands", operands_json(calls)},
      {"keys", keys},
      {"setups",
       Json::array({setup_json(setup, time_methods(setup, calls, methods, plan_for(workbench, keys),
                                                   "float estimate"))})}};
}

Part random_part(int64_t keys, double seconds) {
  return {"random-" + std::to_string(keys), format_count(keys) + " keys, random operands", seconds,
          [keys](const Workbench& workbench) {
            const std::vector<RecordedCall> calls = {measure::random_call({.keys = keys})};
            return measure_calls(workbench, calls, keys, kPaperDial);
          }};
}

Part recorded_part(int64_t keys, double seconds) {
  return {"recorded-" + std::to_string(keys), format_count(keys) + " keys, the model's operands",
          seconds, [keys](const Workbench& workbench) {
            const auto calls = record_calls(workbench, keys, kChunkRows, kMostLayers);
            return measure_calls(workbench, calls, keys, default_dial());
          }};
}

std::vector<Part> parts(const Workbench& workbench) {
  const bool quick = workbench.quick;
  std::vector<Part> all;
  for (const int64_t keys :
       quick ? std::span<const int64_t>(kQuickKeys) : std::span<const int64_t>(kKeys)) {
    const auto length = static_cast<double>(keys);
    all.push_back(random_part(keys, quick ? length / 500 : 6 + length / 500));
  }
  for (const int64_t keys : workbench.lengths()) {
    const auto length = static_cast<double>(keys);
    all.push_back(recorded_part(keys, quick ? 1.5 : 4 + length / 800));
  }
  const int64_t keys = quick ? kQuickFloatSparseKeys : kFloatSparseKeys;
  all.push_back({"float-sparse", "what a float estimate costs", quick ? 2.0 : 6.0,
                 [keys](const Workbench& w) { return measure_float_sparse(w, keys); }});
  return all;
}

}  // namespace

Experiment kernel_experiment() {
  return {"kernel",
          "One attention call",
          "latency of one kernel, and section 2",
          "512 query rows at the end of so many keys, causal: a chunk of a prompt. Methods take "
          "turns in one process; times are medians over rounds, ratios medians of the pairs of a "
          "round. Random operands have the heads of Qwen2-0.5B (14 query heads, 2 KV heads, head "
          "dim 64) and 20 % of the tokens are kept, as in the paper; recorded operands are those "
          "of up to 4 layers of the model at hand, with shadowattn's default dial (attn_error "
          "0.01, and dense where that is predicted to be faster).\n"
          "The paper times one kernel of as many rows as keys on a phone's middle core beside its "
          "NPU. npu-sim here is a thread on another core of this machine: its time is no phone's, "
          "and its own processor time is left out of the core-milliseconds. Shadow attention "
          "shares a list among 8 rows and the heads of a group, where the paper has a list per row "
          "and head; both are shown.",
          parts,
          kernel_chapter};
}

}  // namespace shadowattn::tool::paper
