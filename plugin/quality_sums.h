// What sparsity cost the attention calls of a layer, on sampled rows.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>

#include "shadowattn/engine.h"

namespace shadowattn::plugin {

/// Sums over RowSamples.
struct SampleSums {
  int64_t rows = 0;
  double lost = 0.0;
  double worst_lost = 0.0;
  double oracle_lost = 0.0;
  double estimated_lost = 0.0;
  double recall = 0.0;
  double squared_error = 0.0;
  int64_t visible = 0;
  int64_t kept = 0;
  int64_t oracle_kept = 0;

  SampleSums() = default;
  explicit SampleSums(const RowSample& sample);

  void add(const SampleSums& other);
  double mean_lost() const { return rows == 0 ? 0.0 : lost / static_cast<double>(rows); }
  /// Root of the mean square.
  double output_error() const {
    return rows == 0 ? 0.0 : std::sqrt(squared_error / static_cast<double>(rows));
  }
  /// Means over rows and shares of tokens: docs/plugin.md.
  nlohmann::ordered_json to_json() const;
};

class QualitySums {
 public:
  void add(std::span<const RowSample> samples);
  void add(const QualitySums& other);

  const SampleSums& all() const { return all_; }
  /// The sums, and those of each head.
  nlohmann::ordered_json to_json() const;

 private:
  SampleSums all_;
  std::map<int32_t, SampleSums> heads_;
};

}  // namespace shadowattn::plugin
