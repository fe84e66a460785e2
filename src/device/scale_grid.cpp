#include "device/scale_grid.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace shadowattn {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
/// 2^-23 is the smallest multiplier there is.
constexpr int kMultiplierSteps = 2 * 23;

/// How many of `count` may be above: the largest integer <= share · count.
size_t allowed_above(size_t count, double share) {
  if (!(share > 0.0)) return 0;
  if (share >= 1.0) return count;
  return static_cast<size_t>(std::floor(share * static_cast<double>(count)));
}

/// The smallest of `values` that at most `share` of them exceed; 0 when all may be exceeded.
template <typename T>
T upper_value(std::span<T> values, double share) {
  const size_t above = allowed_above(values.size(), share);
  if (above >= values.size()) return T{0};
  const auto nth = values.begin() + static_cast<std::ptrdiff_t>(values.size() - 1 - above);
  std::nth_element(values.begin(), nth, values.end());
  return *nth;
}

/// What is no size of a row, NaN first of all, which would spoil the order, becomes infinite.
void clean(std::span<float> row_scales) {
  for (float& scale : row_scales) {
    if (!(scale >= 0.0F)) scale = kInfinity;
  }
}

std::optional<float> exact_scale(std::span<const float> row_scales, float wanted) {
  if (wanted == 0.0F) {
    float smallest = kInfinity;
    for (const float scale : row_scales) {
      if (scale > 0.0F) smallest = std::min(smallest, scale);
    }
    return smallest == kInfinity ? 1.0F : smallest;
  }
  if (wanted == kInfinity) return std::nullopt;
  return wanted;
}

Requantisation grid_multiplier(int step) { return requantisation_below(std::exp2(-0.5 * step)); }

}  // namespace

ScaleGrid geometric_grid() {
  static_assert(kGridRatio * kGridRatio > 1.9999999 && kGridRatio * kGridRatio < 2.0000001);
  ScaleGrid grid;
  for (int half_steps = 2 * -14; half_steps <= 2 * 6; ++half_steps) {
    grid.scales.push_back(static_cast<float>(std::exp2(0.5 * half_steps)));
  }
  return grid;
}

Result<ScaleGrid> spread_grid(double mean, double step, int count) {
  if (!std::isfinite(mean) || !(mean > 0.0)) {
    return Status::invalid_argument("scale grid: the mean must be positive and finite");
  }
  if (!std::isfinite(step) || !(step > 0.0) || step == 1.0) {
    return Status::invalid_argument("scale grid: the step must be positive, finite and not 1");
  }
  if (count < 1 || count > 255 || count % 2 == 0) {
    return Status::invalid_argument("scale grid: the count must be odd, 1 to 255");
  }
  const double ratio = step < 1.0 ? 1.0 / step : step;
  ScaleGrid grid;
  for (int k = -(count / 2); k <= count / 2; ++k) {
    const double scale = mean * std::pow(ratio, k);
    if (!(scale >= std::numeric_limits<float>::min() &&
          scale <= std::numeric_limits<float>::max())) {
      return Status::invalid_argument("scale grid: a scale is out of range");
    }
    const auto rounded = static_cast<float>(scale);
    if (!grid.scales.empty() && rounded <= grid.scales.back()) {
      return Status::invalid_argument("scale grid: the step is too small");
    }
    grid.scales.push_back(rounded);
  }
  return grid;
}

std::optional<float> choose_scale(const ScaleGrid& grid, std::span<float> row_scales,
                                  double clip_share) {
  clean(row_scales);
  const float wanted = upper_value(row_scales, clip_share);
  if (grid.exact) return exact_scale(row_scales, wanted);
  const auto found = std::lower_bound(grid.scales.begin(), grid.scales.end(), wanted);
  if (found == grid.scales.end()) return std::nullopt;
  return *found;
}

std::optional<float> nearest_scale(const ScaleGrid& grid, std::span<float> row_scales) {
  clean(row_scales);
  const float wanted = upper_value(row_scales, 0.0);
  if (grid.exact) return exact_scale(row_scales, wanted);
  if (wanted == kInfinity || grid.scales.empty()) return std::nullopt;
  const auto above = std::lower_bound(grid.scales.begin(), grid.scales.end(), wanted);
  if (above == grid.scales.begin()) return *above;
  const float below = *(above - 1);
  const bool down = above == grid.scales.end() || wanted - double{below} <= *above - double{wanted};
  return down ? below : *above;
}

Requantisation choose_requantisation(std::span<int16_t> sums, double saturated_share) {
  for (int16_t& sum : sums) {
    // -32768 has no counterpart.
    sum = static_cast<int16_t>(std::min(std::abs(int32_t{sum}), 32767));
  }
  const double largest = double{kSampledSumUnit} * upper_value(sums, saturated_share);
  if (largest <= 127.0) return grid_multiplier(0);
  // One step early: requantisation_below rounds down, so that a step may pass that just failed.
  int step = std::max(0, static_cast<int>(std::ceil(2.0 * std::log2(largest / 127.0))) - 1);
  while (step < kMultiplierSteps && largest * grid_multiplier(step).multiplier() > 127.0) ++step;
  return grid_multiplier(std::min(step, kMultiplierSteps));
}

}  // namespace shadowattn
