#include "paper/experiments.h"

namespace shadowattn::tool::paper {

const std::vector<Experiment>& experiments() {
  static const std::vector<Experiment> all = {
      concentration_experiment(),    recall_experiment(),         scales_experiment(),
      accuracy_experiment(),         kernel_experiment(),         prefill_experiment(),
      energy_experiment(),           phone_experiment(),          sensitivity_experiment(),
      ablation_quality_experiment(), ablation_times_experiment(),
  };
  return all;
}

}  // namespace shadowattn::tool::paper
