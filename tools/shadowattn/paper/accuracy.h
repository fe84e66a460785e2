// Table 6: what tasks and texts lose by each way to attend.
#pragma once

#include "paper/experiment.h"

namespace shadowattn::tool::paper {

/// A part per task, and one that reads texts.
Experiment accuracy_experiment();

}  // namespace shadowattn::tool::paper
