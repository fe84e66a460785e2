// The softmax sum of a row from its INT8 scores: what a share of the mass is measured against.
#pragma once

#include <cstdint>

#include "kernels/select/select.h"

namespace shadowattn {

/// log2 with straight lines between the powers of two: the inverse of the kernels' e2, and like it
/// the same on every machine, which std::log2 need not be. x > 0.
double straight_log2(double x);

/// Runs of scores of one row, whose exponentials are added with a weight each.
struct ScoreRun {
  const int16_t* scores = nullptr;  ///< readable to padded_scores(count), hidden beyond count
  int64_t count = 0;
  double weight = 1.0;
};

/// log2 Σ weight · 2^logit over both runs, in log2 units: `units_per_log2` (> 0) score units each.
/// *seen is false when every key is hidden.
double log_sum_level(const ScoreRun& a, const ScoreRun& b, double units_per_log2,
                     const SelectKernel& kernel, bool* seen);

}  // namespace shadowattn
