// Ways to estimate scores that several experiments look at.
#pragma once

#include <string>

#include "measure/head_estimate.h"

namespace shadowattn::tool::paper {

/// One scale per head for queries and one for keys, those of the largest elements; keys with their
/// mean; no score is cut off.
measure::EstimateConfig per_tensor_estimate(const std::string& name);

/// The published scheme: one of `count` pairs of scales around a calibrated mean (scale_pairs.h),
/// by the nearest rule, INT8 scores. The multiplier for scores is chosen per head, where the
/// published code has one for the model. Throws Failure when the mean is no scale.
measure::EstimateConfig published_estimate(const std::string& name, measure::ScalePair mean,
                                           double step, int count);

}  // namespace shadowattn::tool::paper
