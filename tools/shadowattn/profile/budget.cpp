#include "profile/budget.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace shadowattn::tool {
namespace {

constexpr double kLeastImportance = 1e-6;  // of the average
constexpr int kHalvings = 200;             // down to neighbouring doubles

double mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

/// The shares at the parameter between `low` and `high` where their average, which grows with it,
/// is `budget`.
std::vector<double> solve(const std::function<std::vector<double>(double)>& shares_at, double low,
                          double high, double budget) {
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = low + (high - low) / 2;
    (mean(shares_at(middle)) < budget ? low : high) = middle;
  }
  return shares_at(high);
}

double kept_at(const KeptCurve& curve, double log_error) {
  const std::vector<double>& errors = curve.attn_error;
  if (errors.size() == 1) return curve.kept[0];
  size_t next = 1;
  while (next + 1 < errors.size() && std::log(errors[next]) < log_error) ++next;
  const double before = std::log(errors[next - 1]);
  const double slope =
      (curve.kept[next] - curve.kept[next - 1]) / (std::log(errors[next]) - before);
  return curve.kept[next - 1] + slope * (log_error - before);
}

}  // namespace

double head_importance(double head_loss_increase, double layer_loss_increase) {
  return std::min(std::max(head_loss_increase, 0.0) * std::max(layer_loss_increase, 0.0),
                  kLargestImportance);
}

std::vector<double> shares_by_importance(std::span<const double> importances, double budget,
                                         double floor) {
  const double average = mean(importances);
  if (!(average > 0)) return std::vector<double>(importances.size(), budget);
  const auto shares_at = [&](double factor) {
    std::vector<double> shares;
    for (const double importance : importances) {
      // A little for those that have none, so that they get what no other has a use for.
      const double relative = std::max(importance / average, kLeastImportance);
      shares.push_back(std::clamp(factor * relative, floor, 1.0));
    }
    return shares;
  };
  return solve(shares_at, 0, 1 / kLeastImportance, budget);
}

std::vector<double> shares_by_mass(std::span<const KeptCurve> curves, double budget, double floor) {
  const auto shares_at = [&](double kept_log) {  // grows as the error shrinks
    std::vector<double> shares;
    for (const KeptCurve& curve : curves) {
      shares.push_back(std::clamp(kept_at(curve, -kept_log), floor, 1.0));
    }
    return shares;
  };
  constexpr double kSmallestErrorLog = 40;  // e^-40
  return solve(shares_at, 0, kSmallestErrorLog, budget);
}

}  // namespace shadowattn::tool
