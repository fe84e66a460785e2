// Kernel family `quantize`: rows of f32, f16 or q8_0 to symmetric INT8, one scale per row.
//
//   scale[r] = absmax(x[r]) / 127        q[r][d] = round_to_nearest_even(x[r][d] · (127 / absmax))
//
// so that x ≈ scale · q, q in [-127, 127], and |x - scale·q| ≤ scale/2 up to float rounding.
// A row whose absmax is below 2^-100 counts as zero (scale 0, q 0): 127 / absmax must not overflow.
// A row with NaN or infinity has scale 0, q 0, and is reported.
// Every kernel gives the same bits: only max, one division and one multiplication per element (and
// an exact one, d · q, for q8_0).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "shadowattn/attention.h"
#include "shadowattn/cpu.h"

namespace shadowattn {

/// src: `rows` rows of `dim` elements, `stride` bytes apart, any alignment; dim a multiple of 16,
/// of 32 for q8_0.
/// q: [rows][dim] dense. scale: [rows]. False when a row holds a NaN or an infinity.
using QuantizeRows = bool (*)(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                              float* scale);

struct QuantizeKernel {
  std::string_view name;
  CpuFeatures needs;
  QuantizeRows from_f32;
  QuantizeRows from_f16;
  QuantizeRows from_q8_0;

  QuantizeRows from(ElementType type) const {
    if (type == ElementType::kQ8_0) return from_q8_0;
    return type == ElementType::kF16 ? from_f16 : from_f32;
  }
};

/// Best first; the last runs anywhere.
const std::vector<QuantizeKernel>& quantize_kernels();

inline constexpr float kSmallestQuantizable = 0x1p-100F;

}  // namespace shadowattn
