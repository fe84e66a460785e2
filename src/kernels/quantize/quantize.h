// Kernel family `quantize`: rows of f32, f16 or q8_0 to symmetric INT8, one scale per row or one
// fixed beforehand.
//
//   rows        scale[r] = absmax(x[r]) / 127
//               q[r][d]  = round_to_nearest_even(x[r][d] · (127 / absmax))
//   row_scales  scale[r] = absmax_d(x[r][d] - mean[d]) / 127
//   fixed       q[r][d]  = round_to_nearest_even(clamp((x[r][d] - mean[d]) · inverse, -127, 127))
//   add_rows    sum[d]  += x[r][d]                               rows in order
//
// so that x ≈ scale · q, q in [-127, 127], and |x - scale·q| ≤ scale/2 up to float rounding.
// `fixed` says how many elements it clipped: those that lost more than half a step. A row whose
// absmax is below 2^-100 counts as zero (scale 0, q 0): 127 / absmax must not overflow. A row with
// NaN or infinity has scale 0, q 0, and is reported. Every kernel gives the same bits: each
// operation is rounded once, in f32, and only maxima change their order (d · q of q8_0 is exact).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "shadowattn/attention.h"
#include "shadowattn/cpu.h"

namespace shadowattn {

/// The functions for one element type.
/// src: `rows` rows of `dim` elements, `stride` bytes apart, any alignment; dim a multiple of 16,
/// of 32 for q8_0. mean: [dim] finite, or null for zeros.
struct QuantizeFunctions {
  /// q: [rows][dim] dense. scale: [rows]. False when a row holds a NaN or an infinity.
  bool (*rows)(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q, float* scale);
  /// scale: [rows]. False when a difference is not finite; its row then has scale 0.
  bool (*row_scales)(const void* src, int64_t stride, int64_t rows, int64_t dim, const float* mean,
                     float* scale);
  /// Elements must be finite, inverse finite and above zero. q: [rows][dim] dense. Returns how many
  /// elements have |(x - mean) · inverse| > 127.5.
  int64_t (*fixed)(const void* src, int64_t stride, int64_t rows, int64_t dim, const float* mean,
                   float inverse, int8_t* q);
  /// sum: [dim].
  void (*add_rows)(const void* src, int64_t stride, int64_t rows, int64_t dim, float* sum);
};

struct QuantizeKernel {
  std::string_view name;
  CpuFeatures needs;
  QuantizeFunctions f32;
  QuantizeFunctions f16;
  QuantizeFunctions q8_0;

  const QuantizeFunctions& of(ElementType type) const {
    if (type == ElementType::kQ8_0) return q8_0;
    return type == ElementType::kF16 ? f16 : f32;
  }
};

/// Best first; the last runs anywhere.
const std::vector<QuantizeKernel>& quantize_kernels();

inline constexpr float kSmallestQuantizable = 0x1p-100F;

}  // namespace shadowattn
