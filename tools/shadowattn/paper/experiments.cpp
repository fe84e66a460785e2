#include "paper/accuracy.h"
#include "paper/experiment.h"
#include "paper/phone.h"

namespace shadowattn::tool::paper {

const std::vector<Experiment>& experiments() {
  static const std::vector<Experiment> all = {
      accuracy_experiment(),
      phone_experiment(),
  };
  return all;
}

}  // namespace shadowattn::tool::paper
