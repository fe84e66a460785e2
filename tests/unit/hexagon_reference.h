// What a launch of shadowattn/device.h computes, as plainly as it can be written.
#pragma once

#include <cstdint>

#include "shadowattn/device.h"

namespace shadowattn::test {

/// Rounds towards minus infinity, without a shift of a negative number.
inline int64_t floor_divide(int64_t value, int64_t by) {
  const int64_t quotient = value / by;
  return value % by < 0 ? quotient - 1 : quotient;
}

inline int8_t reference_score(int64_t sum, Requantisation requantisation) {
  const int64_t divisor = int64_t{1} << requantisation.shift;
  int64_t word = floor_divide(sum + divisor / 2, divisor);
  if (word > 32767) word = 32767;
  if (word < -32768) word = -32768;
  const int64_t score = floor_divide(word * requantisation.mantissa + 16384, 32768);
  return static_cast<int8_t>(score > 127 ? 127 : score < -127 ? -127 : score);
}

/// One head: query [rows][dim], key [keys][dim], scores [rows][keys].
inline void reference_scores(const GraphSpec& spec, const int8_t* query, const int8_t* key,
                             int8_t* scores) {
  for (int64_t r = 0; r < spec.rows; ++r) {
    for (int64_t j = 0; j < spec.keys; ++j) {
      int64_t sum = 0;
      for (int64_t d = 0; d < spec.dim; ++d) {
        sum += int64_t{query[r * spec.dim + d]} * key[j * spec.dim + d];
      }
      scores[r * spec.keys + j] = reference_score(sum, spec.requantisation);
    }
  }
}

}  // namespace shadowattn::test
