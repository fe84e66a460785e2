// Predictions as tables for people.
#pragma once

#include <string>
#include <vector>

#include "simulate/plan_table.h"
#include "simulate/published_ttft.h"

namespace shadowattn::tool::simulate {

/// A column for each way: stages of the prompt, then what overlaps; times in ms.
std::string stages_table(const std::vector<SimulatedWay>& ways);

/// One sparse and one dense layer of one way, and the prompt; times in ms.
std::string layer_table(const Prediction& prediction);

/// Predicted beside published, with the error of each and of all; "" for no rows.
std::string published_table(const std::vector<TtftComparison>& rows);
std::string speedup_table(const std::vector<SpeedupComparison>& rows);

/// The errors of fitted, predicted and throttled rows, a line each; "" for no rows.
std::string error_text(const std::vector<TtftComparison>& rows);

/// "9 figures were fitted, …": the section "prefill" and the NPU's times.
std::string origins_text(const SocModel& soc);

/// These figures, with their origin.
std::string figures_table(const SocModel& soc);

std::string plan_text(const Plan& plan);

}  // namespace shadowattn::tool::simulate
