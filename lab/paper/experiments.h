// The experiments of `shadowattn-lab paper`, each in a file of its name.
#pragma once

#include "paper/experiment.h"

namespace shadowattn::tool::paper {

/// Section 2: how few tokens hold the softmax mass.
Experiment concentration_experiment();
/// Table 4: whether the INT8 estimate finds the tokens that matter.
Experiment recall_experiment();
/// Section 3.3: how far the scales of queries and keys differ, and which buckets are chosen.
Experiment scales_experiment();
/// Table 6: what tasks and texts lose by each way to attend.
Experiment accuracy_experiment();
/// Latency of one attention call, 1K to 16K keys, by us, llama.cpp and the baselines.
Experiment kernel_experiment();
/// Prompts from end to end.
Experiment prefill_experiment();
/// Table 8: processor time and energy of one attention call and of a prompt.
Experiment energy_experiment();
/// Published times of phones beside those that `shadowattn-lab simulate` predicts from soc/.
Experiment phone_experiment();
/// Share of tokens, number of scales, step between them.
Experiment sensitivity_experiment();
/// What each part of the method is worth, by KL divergence.
Experiment ablation_quality_experiment();
/// What the pipeline, fused heads and the estimate on the device are worth, by time.
Experiment ablation_times_experiment();

}  // namespace shadowattn::tool::paper
