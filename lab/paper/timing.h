// What the experiments about time share: methods, and how their times become JSON
// (timing_values.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/recording.h"
#include "measure/attention_timer.h"
#include "paper/core_setups.h"
#include "paper/findings.h"

namespace shadowattn::tool::paper {

/// Query rows of every attention call: a chunk of a prompt.
inline constexpr int64_t kChunkRows = 512;

/// Settings of the engine for one method, before what the experiment varies: no rows are compared
/// with exact attention, and the gate is off so that what is named runs.
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

}  // namespace shadowattn::tool::paper
