#include "paper/score_spread.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace shadowattn::tool::paper {
namespace {

double share_below(std::span<const double> scores, double threshold) {
  const auto below = std::count_if(scores.begin(), scores.end(),
                                   [threshold](double score) { return score < threshold; });
  return static_cast<double>(below) / static_cast<double>(scores.size());
}

/// `best` ascends to 1, give or take the rounding of its sum.
double share_needed(std::span<const double> best, double mass) {
  const auto enough = std::lower_bound(best.begin(), best.end(), std::min(mass, best.back()));
  return static_cast<double>(enough - best.begin() + 1) / static_cast<double>(best.size());
}

double mass_of_top(std::span<const double> best, double share) {
  const double count = std::ceil(share * static_cast<double>(best.size()));
  return best[std::clamp<size_t>(static_cast<size_t>(count), 1, best.size()) - 1];
}

template <size_t kCount>
void add_all(const std::array<double, kCount>& from, std::array<double, kCount>* to) {
  for (size_t i = 0; i < kCount; ++i) (*to)[i] += from[i];
}

template <size_t kCount>
void divide_all(double divisor, std::array<double, kCount>* values) {
  for (double& value : *values) value /= divisor;
}

}  // namespace

void ScoreSpread::add(const measure::RowReference& row) {
  ++rows_;
  for (size_t i = 0; i < kScoreThresholds.size(); ++i) {
    sums_.below[i] += share_below(row.shares(), kScoreThresholds[i]);
  }
  for (size_t i = 0; i < kMasses.size(); ++i) {
    sums_.needed[i] += share_needed(row.best(), kMasses[i]);
  }
  for (size_t i = 0; i < kTopShares.size(); ++i) {
    sums_.top[i] += mass_of_top(row.best(), kTopShares[i]);
  }
  for (size_t i = 0; i < kCurveShares.size(); ++i) {
    sums_.curve[i] += mass_of_top(row.best(), kCurveShares[i]);
  }
}

void ScoreSpread::add(const ScoreSpread& other) {
  rows_ += other.rows_;
  add_all(other.sums_.below, &sums_.below);
  add_all(other.sums_.needed, &sums_.needed);
  add_all(other.sums_.top, &sums_.top);
  add_all(other.sums_.curve, &sums_.curve);
}

ScoreFigures ScoreSpread::mean() const {
  ScoreFigures figures = sums_;
  if (rows_ == 0) return figures;
  const auto rows = static_cast<double>(rows_);
  divide_all(rows, &figures.below);
  divide_all(rows, &figures.needed);
  divide_all(rows, &figures.top);
  divide_all(rows, &figures.curve);
  return figures;
}

}  // namespace shadowattn::tool::paper
