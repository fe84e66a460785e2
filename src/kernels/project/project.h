// Kernel family `project`: rows of f32, f16 or q8_0 times a small matrix, and to INT8 of seven
// bits.
//
//   rows      out[i][c] = start[c] + Σ_d x[first + i · step][d] · map[d][c]      in f32
//   quantize  scale[r]  = absmax(x[r]) / 63
//             q[r][d]   = round_to_nearest_even(x[r][d] · (63 / absmax))
//
// Sums are in the order of d; kernels agree within rounding (fma or not). A row whose absmax is
// below kSmallestQuantizable counts as zero; one with a NaN or an infinity has scale 0, q 0, and is
// reported.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/attend/attend.h"
#include "shadowattn/cpu.h"

namespace shadowattn {

inline constexpr int64_t kProjectMaxDim = 256;
/// Columns must be a multiple.
inline constexpr int64_t kProjectColumns = 16;
/// Largest value of `quantize`: of seven bits with a sign.
inline constexpr int32_t kLargestSeven = 63;

struct ProjectRows {
  RowSource source;
  int64_t first = 0;  ///< row of the source
  int64_t step = 1;   ///< rows of the source from one to the next
  int64_t rows = 0;
  int64_t dim = 0;             ///< multiple of 16, at most kProjectMaxDim
  const float* map = nullptr;  ///< [dim][columns]
  int64_t columns = 0;
  const float* start = nullptr;  ///< [columns], or null for zeros
  float* out = nullptr;          ///< [rows][columns]
};

struct ProjectKernel {
  std::string_view name;
  CpuFeatures needs;
  void (*rows)(const ProjectRows& work);
  /// x: [rows] rows of dim elements, `stride` elements apart; dim a multiple of 16. q: [rows][dim]
  /// dense, scale: [rows]. False when a row is not finite.
  bool (*quantize)(const float* x, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                   float* scale);
};

/// Best first; the last runs anywhere.
const std::vector<ProjectKernel>& project_kernels();

}  // namespace shadowattn
