#include "pilot/estimate_error.h"

#include <algorithm>
#include <cmath>

namespace shadowattn {

double logit_error_variance(const QuantisedPair& p) {
  return p.scale * p.scale *
         (p.query_norm2 * p.key_step * p.key_step + p.key_norm2 * p.query_step * p.query_step) /
         12.0;
}

double largest_norm2_of(const int8_t* x, const float* scale, int64_t rows, int64_t dim) {
  double largest = 0.0;
  for (int64_t r = 0; r < rows; ++r) {
    int32_t sum = 0;
    for (int64_t d = 0; d < dim; ++d) {
      const int32_t element = x[r * dim + d];
      sum += element * element;
    }
    largest = std::max(largest, static_cast<double>(sum) * scale[r] * scale[r]);
  }
  return largest;
}

double estimated_budget(double attn_error, double error_variance) {
  constexpr double kArithmetic = 1.062 * 1.008;
  constexpr double kMostFactor = 8.0;
  const double factor = std::exp(2.0 * error_variance);
  if (!(factor <= kMostFactor)) return 0.0;  // also NaN
  return attn_error / (kArithmetic * factor);
}

}  // namespace shadowattn
