#include <algorithm>
#include <cmath>

#include "common/failure.h"
#include "common/interrupt.h"
#include "measure/recall_table.h"
#include "measure/sampled_rows.h"
#include "plan/list_plan.h"
#include "plan/visibility.h"

namespace shadowattn::tool::measure {
namespace {

KeyRange all_visible(const Visibility& visibility) {
  return {visibility.begin(), visibility.end()};
}

/// The engine's own rule; its floor is about short contexts.
int64_t kept(double keep, int64_t visible) {
  EngineOptions options;
  options.keep = keep;
  options.keep_floor = 1;
  return keep_count(options, visible);
}

/// The results of the query heads of one KV head, appended to those of the heads before.
class HeadRun {
 public:
  HeadRun(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
          const std::vector<SampledRow>& rows, const RecallOptions& options)
      : call_(call),
        range_(all_visible(visibility)),
        kv_head_(kv_head),
        rows_(rows),
        options_(options) {}

  void run(const EstimateConfig& config, HeadEstimate& estimate, RecallResult* result) const {
    const auto group = static_cast<size_t>(call_.query.heads / call_.key.heads);
    estimate.prepare(call_, kv_head_, range_, config);
    const size_t first = result->keeps.front().recall.size();
    for (RecallResult::AtKeep& at : result->keeps) {
      at.recall.resize(first + group);
      at.mass.resize(first + group);
      at.relative_mass.resize(first + group);
    }
    int64_t estimated = -1;
    std::span<const float> scores;
    const bool int8 = !config.exact_sums && !config.key_row_scales && !estimate.out_of_grid();
    for (const SampledRow& row : rows_) {
      if (row.row != estimated) scores = estimate.estimate(row.row);
      estimated = row.row;
      add_row(row, scores, first, int8, result);
    }
    ++result->heads;
    result->out_of_grid += estimate.out_of_grid() ? 1 : 0;
    result->elements += estimate.elements();
    result->clipped += estimate.clipped();
    if (int8) add_multiplier(estimate.requantisation(), result);
  }

 private:
  void add_row(const SampledRow& row, std::span<const float> scores, size_t first_head, bool int8,
               RecallResult* result) const {
    const int64_t keys = range_.end - range_.begin;
    const std::span<const float> seen =
        scores.subspan(static_cast<size_t>(row.group_head * keys + row.seen.begin - range_.begin),
                       static_cast<size_t>(row.reference.keys()));
    if (int8) {
      result->scores += row.reference.keys();
      result->saturated +=
          std::count_if(seen.begin(), seen.end(), [](float x) { return std::fabs(x) == 127.0F; });
    }
    const size_t head = first_head + static_cast<size_t>(row.group_head);
    for (size_t i = 0; i < options_.keeps.size(); ++i) {
      RecallResult::AtKeep& at = result->keeps[i];
      const int64_t k = kept(options_.keeps[i], row.reference.keys());
      const TopKQuality quality = row.reference.quality(seen, k);
      at.recall[head].push_back(quality.recall);
      at.mass[head].push_back(quality.mass);
      at.relative_mass[head].push_back(quality.relative_mass);
      at.kept += k;
      at.tied += quality.tied;
    }
  }

  static void add_multiplier(Requantisation multiplier, RecallResult* result) {
    std::vector<Requantisation>& all = result->multipliers;
    if (std::find(all.begin(), all.end(), multiplier) == all.end()) all.push_back(multiplier);
  }

  const AttentionCall& call_;
  KeyRange range_;
  int64_t kv_head_;
  const std::vector<SampledRow>& rows_;
  const RecallOptions& options_;
};

EstimateConfig make_config(const std::string& name, bool center_keys, bool row_scales,
                           ScaleRule rule) {
  EstimateConfig config;
  config.name = name;
  config.options.center_keys = center_keys;
  config.options.row_scales = row_scales;
  config.options.scale_rule = rule;
  return config;
}

void add_pairs(ScalePair mean, bool center_keys, double step,
               std::vector<EstimateConfig>* configs) {
  for (const int count : {1, 3, 5, 9}) {
    const auto pairs = scale_pairs(mean, step, count);
    if (!pairs.ok()) throw Failure("the calibrated scales: " + pairs.status().message());
    const std::string name = std::to_string(count) + (count == 1 ? " pair" : " pairs");
    EstimateConfig config =
        make_config(name + ", nearest", center_keys, false, ScaleRule::kNearest);
    config.pairs = pairs.value();
    if (count == 1) config.name = name;  // nothing to choose
    configs->push_back(config);
    if (count == 1) continue;
    config.name = name + ", covering";
    config.options.scale_rule = ScaleRule::kCovering;
    configs->push_back(std::move(config));
  }
}

}  // namespace

void calibrate(const AttentionCall& call, bool center_keys, Executor& executor,
               Calibration* calibration) {
  const Visibility visibility(call, executor);
  HeadEstimate estimate;
  DeviceOptions options;
  options.center_keys = center_keys;
  options.clip_share = 0;
  for (int64_t head = 0; head < call.key.heads; ++head) {
    const ScalePair scales = estimate.measured(call, head, all_visible(visibility), options);
    calibration->query += scales.query;
    calibration->key += scales.key;
    ++calibration->heads;
  }
}

std::vector<EstimateConfig> recall_configs(ScalePair mean, ScalePair centred_mean, double step) {
  std::vector<EstimateConfig> configs;
  for (const bool center : {false, true}) {
    add_pairs(center ? centred_mean : mean, center, step, &configs);
    configs.push_back(make_config("grid", center, false, ScaleRule::kCovering));
    configs.push_back(make_config("measured", center, false, ScaleRule::kExact));
    configs.push_back(make_config("grid, row scales", center, true, ScaleRule::kCovering));
    configs.push_back(make_config("measured, row scales", center, true, ScaleRule::kExact));
    configs.push_back(make_config("INT32 scores: measured", center, false, ScaleRule::kExact));
    configs.back().exact_sums = true;
    configs.push_back(
        make_config("INT32 scores: measured, row scales", center, true, ScaleRule::kExact));
    configs.back().exact_sums = true;
  }
  configs.push_back(
      make_config("INT32 scores: row and key scales", false, true, ScaleRule::kExact));
  configs.back().key_row_scales = true;
  return configs;
}

void add_call(const AttentionCall& call, const std::vector<EstimateConfig>& configs,
              const RecallOptions& options, Executor& executor,
              std::vector<RecallResult>* results) {
  if (results->empty()) {
    for (const EstimateConfig& config : configs) {
      RecallResult result;
      result.name = config.name;
      result.center_keys = config.options.center_keys;
      result.keeps.resize(options.keeps.size());
      results->push_back(std::move(result));
    }
  }
  const Visibility visibility(call, executor);
  std::vector<HeadEstimate> estimates(static_cast<size_t>(executor.threads()));
  for (int64_t head = 0; head < call.key.heads; ++head) {
    if (interrupted()) throw Failure("interrupted", interrupted_status());
    const std::vector<SampledRow> rows =
        sample_rows(call, visibility, head, options.every, executor);
    if (rows.empty()) throw Failure("no row has a plain causal mask");
    const HeadRun run(call, visibility, head, rows, options);
    executor.run(static_cast<int64_t>(configs.size()), [&](int64_t index, int thread) {
      const auto i = static_cast<size_t>(index);
      run.run(configs[i], estimates[static_cast<size_t>(thread)], &(*results)[i]);
    });
  }
}

}  // namespace shadowattn::tool::measure
