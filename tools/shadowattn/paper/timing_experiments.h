// The experiments about time and energy.
#pragma once

#include "paper/experiment.h"

namespace shadowattn::tool::paper {

/// Latency of one attention call, 1K to 16K keys, by us, llama.cpp and the baselines.
Experiment kernel_experiment();
/// Prompts from end to end.
Experiment prefill_experiment();
/// Processor time and energy of one attention call and of a prompt.
Experiment energy_experiment();
/// What the pipeline, fused heads and the estimate on the device are worth, by time.
Experiment ablation_times_experiment();

}  // namespace shadowattn::tool::paper
