// How softmax scores are spread over the tokens that a row sees. Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "measure/recall_score.h"

namespace shadowattn::tool::paper {

/// Thresholds of the paper, shares of mass and of tokens that figures are given for.
inline constexpr std::array<double, 2> kScoreThresholds = {0.01, 0.03};
inline constexpr std::array<double, 3> kMasses = {0.90, 0.95, 0.99};
inline constexpr std::array<double, 3> kTopShares = {0.05, 0.10, 0.20};
inline constexpr std::array<double, 12> kCurveShares = {0.01, 0.02, 0.05, 0.1, 0.15, 0.2,
                                                        0.3,  0.4,  0.5,  0.6, 0.8,  1.0};

/// Means over rows, all in [0, 1].
struct ScoreFigures {
  std::array<double, kScoreThresholds.size()> below{};  ///< share of scores below the threshold
  std::array<double, kMasses.size()> needed{};  ///< fewest tokens with the mass, share of the seen
  std::array<double, kTopShares.size()> top{};  ///< mass of the largest scores
  std::array<double, kCurveShares.size()> curve{};  ///< the same, for a plot
};

/// Adds rows up; every row counts the same.
class ScoreSpread {
 public:
  void add(const measure::RowReference& row);
  void add(const ScoreSpread& other);

  int64_t rows() const { return rows_; }
  /// All zero without rows.
  ScoreFigures mean() const;

 private:
  int64_t rows_ = 0;
  ScoreFigures sums_;
};

}  // namespace shadowattn::tool::paper
