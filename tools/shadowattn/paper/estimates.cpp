#include "paper/estimates.h"

#include "failure.h"

namespace shadowattn::tool::paper {

measure::EstimateConfig per_tensor_estimate(const std::string& name) {
  measure::EstimateConfig config;
  config.name = name;
  config.options.scale_rule = ScaleRule::kExact;
  config.options.row_scales = false;
  config.options.center_keys = false;
  config.options.clip_share = 0;
  config.options.saturated_share = 0;
  return config;
}

measure::EstimateConfig published_estimate(const std::string& name, measure::ScalePair mean,
                                           double step, int count) {
  const auto pairs = measure::scale_pairs(mean, step, count);
  if (!pairs.ok()) throw Failure("the calibrated scales: " + pairs.status().message());
  measure::EstimateConfig config = per_tensor_estimate(name);
  config.options.scale_rule = ScaleRule::kNearest;
  config.options.saturated_share = DeviceOptions().saturated_share;
  config.pairs = pairs.value();
  return config;
}

}  // namespace shadowattn::tool::paper
