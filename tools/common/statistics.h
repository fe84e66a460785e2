// What is said about repeated measurements.
#pragma once

#include <vector>

namespace shadowattn::tool {

struct Statistics {
  double median = 0;
  double mean = 0;
  double stddev = 0;  ///< of the sample, n - 1; 0 for a single value
  double min = 0;
  double max = 0;
};

/// All zero for no values.
Statistics statistics(const std::vector<double>& values);

/// The mean of the two middle values when their number is even; 0 for no values.
double median(std::vector<double> values);

/// The median of values[i] / baseline[i]: runs that were measured one after the other meet the
/// same state of the machine. Over the pairs that exist; 0 for none.
double median_of_ratios(const std::vector<double>& values, const std::vector<double>& baseline);

/// How far values are, as a share of their mean and on the root mean square, from the straight line
/// that fits them best (least squares over their indices). 0 for fewer than three.
double spread_about_line(const std::vector<double>& values);

}  // namespace shadowattn::tool
