#include "paper/estimates.h"

#include "measure/recall_table.h"
#include "paper/recorded_windows.h"

#include "common/failure.h"

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

Json measure_estimates(const Workbench& workbench, int64_t length, const std::vector<double>& keeps,
                       MakeEstimates make_estimates) {
  const RecordedWindows windows(workbench, length, /*calibrate=*/true);
  const measure::ScalePair mean = windows.calibrated_mean();
  const std::vector<measure::EstimateConfig> configs = make_estimates(mean);
  measure::RecallOptions options;
  options.keeps = keeps;
  options.every = windows.every();
  std::vector<measure::RecallResult> results;
  windows.for_each_call("recall", [&](const AttentionCall& call) {
    measure::add_call(call, configs, options, windows.executor(), &results);
  });
  return {{"windows", to_json(windows.facts())},
          {"calibrated_on_itself", windows.calibrated_on_itself()},
          {"mean_scales", {{"query", mean.query}, {"key", mean.key}}},
          {"keeps", keeps},
          {"estimates", measure::recall_json(results, options)}};
}

}  // namespace shadowattn::tool::paper
