// The experiment that cannot be run here, and is predicted instead.
#pragma once

#include "paper/experiment.h"

namespace shadowattn::tool::paper {

/// Published times of phones beside those that `shadowattn simulate` predicts from soc/.
Experiment phone_experiment();

}  // namespace shadowattn::tool::paper
