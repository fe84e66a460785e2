// What the experiments about time share: cores, operands, methods, and how times are kept as JSON.
//
//   "setups": [{"id": "one-core", "label": …, "threads": 1, "device": true, "methods": [
//     {"id": "shadow", "wall_ns": [a sample per round], "cpu_ns": […], "median_wall_ns": …,
//      "llama_ratio": …, "dense_ratio": …, …}]}]
//
// A ratio is how many times as fast a method is: the median of the other's time over its own, pair
// by pair of a round.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "measure/attention_timer.h"
#include "paper/experiment.h"
#include "recording.h"

namespace shadowattn::tool::paper {

inline constexpr char kOneCore[] = "one-core";
inline constexpr char kTwoCores[] = "two-cores";

/// Query rows of every attention call: a chunk of a prompt.
inline constexpr int64_t kChunkRows = 512;

/// On which cores something is measured.
struct CoreSetup {
  std::string id;     ///< kOneCore or kTwoCores
  std::string label;  ///< for people
  std::vector<int> cpu;
  int device = -1;  ///< core that plays npu-sim; -1: none

  int threads() const { return static_cast<int>(cpu.size()); }
};

/// One core, with the next one for the simulated device; then two without a device. What `usable`
/// (ascending, at least one) has no cores for is left out.
std::vector<CoreSetup> core_setups(const std::vector<int>& usable);
/// What was left out for lack of cores, in words; "" when nothing was.
std::string missing_setups(const std::vector<int>& usable);

/// Settings of the engine for one method, before what the experiment varies: the mode by its name
/// (eval/methods.h), no samples, and the gate off so that what is named runs.
EngineOptions timed_engine(Mode mode, double keep, double attn_error);
/// With the estimate on npu-sim, played on that core.
EngineOptions on_npu_sim(EngineOptions options, int core);

/// Times the methods on the cores of the setup. Shows progress. Throws Failure, also on Ctrl-C; the
/// calling thread keeps its cores.
std::vector<measure::MethodPasses> time_methods(const CoreSetup& setup,
                                                std::span<const RecordedCall> calls,
                                                std::span<const measure::TimedMethod> methods,
                                                const measure::TimingPlan& plan,
                                                const std::string& label);

/// One call by the engine, with when each stage ran; on the cores of the setup.
measure::TracedCall trace_call(const CoreSetup& setup, std::span<const RecordedCall> calls,
                               const EngineOptions& options);

/// An entry of "setups"; ratios are to the methods called "llama" and "dense".
Json setup_json(const CoreSetup& setup, const std::vector<measure::MethodPasses>& methods);

/// Shape of the operands: "heads", "kv_heads", "dim", "value_dim", "rows", "keys", "layers".
Json operands_json(std::span<const RecordedCall> calls);
/// "14 query heads, 2 KV heads, head dim 64, 512 query rows".
std::string operands_text(const Json& operands);

/// Of a part's values; null: not measured.
const Json* find_setup(const Json& values, const std::string& id);
const Json* find_method(const Json& setup, const std::string& id);
/// values -> setup -> method -> figure; NaN when any is missing.
double figure(const Json& values, const std::string& setup, const std::string& method,
              const std::string& key);

/// How many times as long `method` takes as `other`: the median over rounds; NaN when one is
/// missing.
double time_ratio(const Json& values, const std::string& setup, const std::string& method,
                  const std::string& other);

/// What a method is called on the page; the id itself when it is not known.
std::string method_label(const std::string& id);

/// "12.3", "0.123", "-" when it is not finite.
std::string milliseconds_text(double nanoseconds);
/// "3.42"; "-".
std::string ratio_text(double ratio);
/// "3.1 to 6.4", "3.1" when all are alike, "-" for none. Not finite ones are left out.
std::string range_text(const std::vector<double>& ratios);

}  // namespace shadowattn::tool::paper
