// From exact INT32 sums to INT8 scores with a multiplier fixed beforehand: the formula of
// shadowattn/device.h, one score at a time. The reference for kernels and devices.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "shadowattn/device.h"

namespace shadowattn {

/// Any acc; r must be valid.
inline int8_t requantise(int32_t acc, Requantisation r) {
  const int64_t half = (int64_t{1} << r.shift) / 2;
  const int64_t shifted = (acc + half) >> r.shift;
  const int64_t word = std::clamp<int64_t>(shifted, std::numeric_limits<int16_t>::min(),
                                           std::numeric_limits<int16_t>::max());
  const int64_t score = (word * r.mantissa + (1 << 14)) >> 15;
  return static_cast<int8_t>(std::clamp<int64_t>(score, -127, 127));
}

}  // namespace shadowattn
