#include "paper/experiment.h"

namespace shadowattn::tool::paper {

const std::vector<Experiment>& experiments() {
  static const std::vector<Experiment> all = {};
  return all;
}

}  // namespace shadowattn::tool::paper
