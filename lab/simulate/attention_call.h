// One call of sparse attention: a layer's attention for one chunk of the prompt, as launches of the
// NPU and work of the CPU.
#pragma once

#include <cstdint>
#include <vector>

#include "device/pipeline_order.h"
#include "simulate/prefill_options.h"

namespace shadowattn::tool::simulate {

/// (query row, key) pairs of one query head.
struct PairCounts {
  double rectangle = 0;  ///< rows × keys, those that the causal mask hides included
  double visible = 0;    ///< that the rows may see
  double kept = 0;       ///< that exact attention is computed for
};

/// Of rows [first, first + rows) of a prompt, each of which sees the rows before it and itself and
/// keeps ceil(share · what it sees): on the mean half a key more than the share.
PairCounts count_pairs(int64_t first, int64_t rows, double share);

/// A launch, or with keys beyond the longest graph several, and the CPU's work on its scores.
/// Times in ns.
struct LaunchWork {
  PipelineJob job;         ///< cpu_ns = select_ns + attend_ns
  int64_t launches = 0;    ///< tiles of keys
  double overhead_ns = 0;  ///< part of job.device_ns that launching takes, not computing
  double select_ns = 0;    ///< of one worker, all heads
  double attend_ns = 0;
};

/// Times in ns.
struct CallWork {
  double quantise_ns = 0;  ///< wall time, before the first launch
  std::vector<LaunchWork> launches;
  int workers = 1;  ///< that take heads; times of LaunchWork are those of one
  int slots = 1;    ///< launches whose scores fit into memory at a time

  std::vector<PipelineJob> jobs() const;
};

/// The call for rows [first, first + rows) of the prompt. Not for Pilot::kCpu. Throws Failure when
/// the NPU takes no launch of this model.
CallWork cut_call(const SocModel& soc, const ModelShape& shape, const PrefillOptions& options,
                  int64_t first, int64_t rows);

/// The order in which the launches go to the NPU.
std::vector<int32_t> launch_order(const CallWork& call, PipelineMode pipeline);

/// From the first launch to the last attended head. ns
double call_makespan(const CallWork& call, PipelineMode pipeline);

}  // namespace shadowattn::tool::simulate
