// What would pay on larger models, longer prompts and faster NPUs: predictions past what anybody
// has measured.
#pragma once

#include <string>
#include <vector>

#include "simulate/prefill_prediction.h"

namespace shadowattn::tool::simulate {

/// One case beside the same with dense attention and with the estimate on the CPU. Times in ns.
struct PlanCase {
  std::string model;
  int64_t tokens = 0;
  double npu_speed = 1;
  Prediction prediction;
  double dense_ns = 0;      ///< TTFT with dense attention, on as many cores as `options` say
  double cpu_pilot_ns = 0;  ///< TTFT with the estimate in float on the CPU

  double speedup_over_dense() const { return dense_ns / prediction.ttft_ns(); }
  double speedup_over_cpu_pilot() const { return cpu_pilot_ns / prediction.ttft_ns(); }
};

/// What one change does to the TTFT at each of the prompts' lengths.
struct PlanChange {
  std::string what;
  std::vector<double> ttft_ratios;  ///< after over before, one per length; 0: not possible
};

struct Plan {
  std::vector<int64_t> lengths;  ///< tokens: 4K, 32K, 128K and the one asked for
  std::vector<PlanCase> cases;
  std::vector<PlanChange> changes;  ///< to the model asked for
};

/// `options`: all but context and NPU speed, which vary. `step` counts predictions, and is called
/// within long ones too.
Plan make_plan(const SocModel& soc, const ModelShape& shape, const PrefillOptions& options,
               const Step& step);

}  // namespace shadowattn::tool::simulate
