#include "pilot/row_level.h"

#include <algorithm>
#include <cmath>

namespace shadowattn {

double straight_log2(double x) {
  int exponent = 0;
  const double fraction = std::frexp(x, &exponent);  // in [0.5, 1)
  return exponent - 2.0 + 2.0 * fraction;
}

double log_sum_level(const ScoreRun& a, const ScoreRun& b, double units_per_log2,
                     const SelectKernel& kernel, bool* seen) {
  constexpr double kSteepest = 1e30;  // logits beyond any float: only the maximum counts
  const int16_t row_max =
      std::max(kernel.row_max(a.scores, a.count), kernel.row_max(b.scores, b.count));
  *seen = row_max != kHiddenScore;
  if (!*seen) return 0.0;
  const auto log2_per_unit = static_cast<float>(std::min(1.0 / units_per_log2, kSteepest));
  double sum = 0.0;
  for (const ScoreRun* run : {&a, &b}) {
    const int64_t part = kernel.exp_sum(run->scores, row_max, run->count, log2_per_unit);
    sum += run->weight * static_cast<double>(part);
  }
  return row_max / units_per_log2 + straight_log2(sum / kExpSumOne);
}

}  // namespace shadowattn
