// Predictions as JSON; times in ms.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "simulate/plan_table.h"
#include "simulate/published_ttft.h"

namespace shadowattn::tool::simulate {

/// Everything that was predicted, in one object. `plan` may be null.
nlohmann::json simulate_json(const SocModel& soc, const ModelShape& shape,
                             const std::vector<SimulatedWay>& ways,
                             const std::vector<TtftComparison>& published,
                             const std::vector<SpeedupComparison>& speedups, const Plan* plan);

}  // namespace shadowattn::tool::simulate
