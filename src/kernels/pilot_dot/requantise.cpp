#include "kernels/pilot_dot/requantise.h"

#include <cmath>

namespace shadowattn {
namespace {

constexpr int32_t kLargestShift = 15;
constexpr int32_t kSmallestMantissa = 128;
constexpr int32_t kLargestMantissa = std::numeric_limits<int16_t>::max();

}  // namespace

double Requantisation::multiplier() const { return std::ldexp(mantissa, -(15 + shift)); }

bool Requantisation::valid() const {
  if (shift < 0 || shift > kLargestShift) return false;
  const int32_t largest = shift == 0 ? kLargestMantissa : 2 * kSmallestMantissa - 1;
  return mantissa >= kSmallestMantissa && mantissa <= largest;
}

Requantisation requantisation_below(double multiplier) {
  const Requantisation smallest{.mantissa = kSmallestMantissa, .shift = kLargestShift};
  if (!(multiplier >= smallest.multiplier())) return smallest;  // NaN too
  if (multiplier >= 1.0) return {.mantissa = kLargestMantissa, .shift = 0};
  // A shift above zero has the mantissas of one octave: [2^(-8 - shift), 2^(-7 - shift)).
  const int32_t shift = std::max(0, -8 - std::ilogb(multiplier));
  const double mantissa = std::floor(std::ldexp(multiplier, 15 + shift));
  return {.mantissa = static_cast<int32_t>(mantissa), .shift = shift};
}

}  // namespace shadowattn
