#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/select/top_k_impl.h"

namespace shadowattn {
namespace {

struct ScalarOps {
  static int16_t row_max(const int16_t* p, int64_t n) {
    int16_t largest = kHiddenScore;
    for (int64_t j = 0; j < n; ++j) largest = std::max(largest, p[j]);
    return largest;
  }

  static int64_t count_at_least(const int16_t* p, int64_t n, int16_t threshold) {
    int64_t count = 0;
    for (int64_t j = 0; j < n; ++j) count += p[j] >= threshold ? 1 : 0;
    return count;
  }

  static int64_t collect(const int16_t* p, int64_t n, int16_t threshold, int64_t ties,
                         int32_t* out) {
    int64_t count = 0;
    for (int64_t j = 0; j < n; ++j) {
      if (p[j] < threshold) continue;
      if (p[j] == threshold && ties-- <= 0) continue;
      out[count++] = static_cast<int32_t>(j);
    }
    return count;
  }
};

}  // namespace

int16_t select_row_max_scalar(const int16_t* scores, int64_t n) {
  return ScalarOps::row_max(scores, n);
}

int64_t select_exp_sum_scalar(const int16_t* scores, int16_t row_max, int64_t n, float c) {
  int64_t sum = 0;
  for (int64_t j = 0; j < n; ++j) {
    if (scores[j] == kHiddenScore) continue;
    // The bits of a float are its logarithm, but for the straight lines: exponent plus fraction.
    const float x = static_cast<float>(scores[j] - row_max) * c;
    const float biased = std::max(x + 127.0F, 0.0F) * 0x1p23F;
    const float power = std::bit_cast<float>(static_cast<int32_t>(biased));
    sum += static_cast<int32_t>(std::nearbyint(power * static_cast<float>(kExpSumOne)));
  }
  return sum;
}

void select_merge_scalar(const int16_t* scores, int16_t level, int64_t n, int16_t* importance) {
  for (int64_t j = 0; j < n; ++j) {
    if (scores[j] == kHiddenScore) continue;
    const int32_t relative = std::max(scores[j] - level, kHiddenScore + 1);
    importance[j] = std::max(importance[j], static_cast<int16_t>(relative));
  }
}

int64_t select_top_k_scalar(const int16_t* importance, int64_t n, int64_t k, int32_t* out) {
  return top_k<ScalarOps>(importance, n, k, out);
}

}  // namespace shadowattn
