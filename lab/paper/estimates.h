// Ways to estimate scores that several experiments look at.
#pragma once

#include <string>
#include <vector>

#include "measure/head_estimate.h"
#include "paper/findings.h"
#include "paper/workbench.h"

namespace shadowattn::tool::paper {

/// One scale per head for queries and one for keys, those of the largest elements; keys with their
/// mean; no score is cut off.
measure::EstimateConfig per_tensor_estimate(const std::string& name);

/// The published scheme: one of `count` pairs of scales around a calibrated mean (scale_pairs.h),
/// by the nearest rule, INT8 scores. The multiplier for scores is chosen per head, where the
/// published code has one for the model. Throws Failure when the mean is no scale.
measure::EstimateConfig published_estimate(const std::string& name, measure::ScalePair mean,
                                           double step, int count);

/// Estimates to compare, for a calibrated mean of the scales.
using MakeEstimates = std::vector<measure::EstimateConfig> (*)(measure::ScalePair mean);

/// Each estimate's top tokens against the exact ones, on the windows of one length. Keys: windows,
/// calibrated_on_itself, mean_scales, keeps, estimates (measure/recall_table.h's). Throws Failure,
/// also on Ctrl-C.
Json measure_estimates(const Workbench& workbench, int64_t length, const std::vector<double>& keeps,
                       MakeEstimates make_estimates);

}  // namespace shadowattn::tool::paper
