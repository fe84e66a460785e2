// The experiments of `shadowattn paper`, each in a file of its name.
#pragma once

#include "paper/experiment.h"

namespace shadowattn::tool::paper {

Experiment concentration_experiment();
Experiment recall_experiment();
Experiment scales_experiment();
Experiment sensitivity_experiment();
Experiment ablation_quality_experiment();

}  // namespace shadowattn::tool::paper
