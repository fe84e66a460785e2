// Recall of the INT8 estimate on recorded attention, by how its scales are chosen.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "measure/head_estimate.h"
#include "measure/recall_score.h"
#include "shadowattn/executor.h"

namespace shadowattn::tool::measure {

struct RecallOptions {
  std::vector<double> keeps = {0.05, 0.1, 0.2, 0.5};
  double step = 0.5;  ///< of the pairs around the calibrated mean
  int every = 4;      ///< of the query rows only every n-th is looked at
};

/// Sums of the scales measured in a calibration.
struct Calibration {
  double query = 0;
  double key = 0;
  int64_t heads = 0;

  ScalePair mean() const {
    const auto count = static_cast<double>(heads);
    return {static_cast<float>(query / count), static_cast<float>(key / count)};
  }
};

/// Adds the largest scales of every KV head of a call, keys with or without their mean.
void calibrate(const AttentionCall& call, bool center_keys, Executor& executor,
               Calibration* calibration);

/// All ways to choose scales, keys with their mean and without: static pairs around the calibrated
/// means, the engine's grids, measured scales, and bounds without requantisation. Throws
/// Failure when the means are no scales.
std::vector<EstimateConfig> recall_configs(ScalePair mean, ScalePair centred_mean, double step);

/// What one configuration did, over calls.
struct RecallResult {
  std::string name;
  bool center_keys = false;
  struct AtKeep {
    std::vector<std::vector<double>> recall;  ///< [head][row]
    std::vector<std::vector<double>> mass;
    std::vector<std::vector<double>> relative_mass;
    int64_t kept = 0;
    int64_t tied = 0;
  };
  std::vector<AtKeep> keeps;  ///< as RecallOptions::keeps
  int64_t heads = 0;          ///< KV heads
  int64_t out_of_grid = 0;    ///< of these estimated by the CPU
  int64_t elements = 0;
  int64_t clipped = 0;
  int64_t scores = 0;  ///< INT8, visible ones
  int64_t saturated = 0;
  std::vector<Requantisation> multipliers;  ///< distinct
};

/// Adds a call to the results, one for each of `configs`. Rows with a mask that is not plain are
/// left out. Throws Failure; stops at Ctrl-C with one.
void add_call(const AttentionCall& call, const std::vector<EstimateConfig>& configs,
              const RecallOptions& options, Executor& executor, std::vector<RecallResult>* results);

std::string recall_markdown(const std::vector<RecallResult>& results, const RecallOptions& options);
nlohmann::ordered_json recall_json(const std::vector<RecallResult>& results,
                                   const RecallOptions& options);

}  // namespace shadowattn::tool::measure
