// One element of an operand, whatever its type. Slow; for references.
#pragma once

#include <cstdint>

#include "kernels/half.h"
#include "shadowattn/attention.h"

namespace shadowattn::tool::measure {

inline double element(const TensorView& view, int64_t head, int64_t row, int64_t index) {
  const void* data = view.row(head, row);
  if (view.type == ElementType::kF32) return static_cast<const float*>(data)[index];
  if (view.type == ElementType::kQ8_0) {
    const char* block = static_cast<const char*>(data) + index / kQ8BlockElements * kQ8BlockBytes;
    const double scale = half_to_float(*reinterpret_cast<const uint16_t*>(block));
    return scale * static_cast<int8_t>(block[sizeof(uint16_t) + index % kQ8BlockElements]);
  }
  return half_to_float(static_cast<const uint16_t*>(data)[index]);
}

}  // namespace shadowattn::tool::measure
