#include "common/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace shadowattn::tool {

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double median_of_ratios(const std::vector<double>& values, const std::vector<double>& baseline) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(values.size(), baseline.size()); ++i) {
    if (baseline[i] > 0) ratios.push_back(values[i] / baseline[i]);
  }
  return median(std::move(ratios));
}

Statistics statistics(const std::vector<double>& values) {
  if (values.empty()) return {};
  const auto count = static_cast<double>(values.size());
  Statistics result;
  result.median = median(values);
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  result.stddev = values.size() > 1 ? std::sqrt(squares / (count - 1)) : 0;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  result.min = *low;
  result.max = *high;
  return result;
}

double spread_about_line(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  if (values.size() < 3) return 0;
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  const double middle = (count - 1) / 2;
  double covariance = 0;
  double variance = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double x = static_cast<double>(i) - middle;
    covariance += x * (values[i] - mean);
    variance += x * x;
  }
  const double slope = covariance / variance;
  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double off = values[i] - mean - slope * (static_cast<double>(i) - middle);
    squares += off * off;
  }
  return mean > 0 ? std::sqrt(squares / count) / mean : 0;
}

}  // namespace shadowattn::tool
