// Kernel family `keep`: which keys a list of rows keeps for what they change in the output, and
// what the rows lose by the others. Of the shares of the rows of one head (PilotShares,
// pilot_dot.h), page by page:
//
//   p[r][j]    = half[r][j] · factor[r]                      the row's softmax share
//   change[j]  = weight[j] · Σ_r p[r][j]²                    weight: |v[j] - mean of its page|²
//   kept       = (change > threshold, or forced) and seen
//   dropped[r] = Σ_{j of the page, not kept} p[r][j]         goes to the page's mean value
//
// Giving p[r][j] of key j's value to the mean of its page instead moves the output of row r by
// p[r][j] · (v[j] - mean): `change` is the squared length of that, summed over the rows.
//
// `values` makes the means and weights of pages of keys. A page that holds a value that is not
// finite has a mean of zero and weights kKeepAlways: all its keys with any share are kept.
//
// Arithmetic is f32; sums over keys are in the order of the kernel, so kernels agree within
// rounding.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/attend/attend.h"
#include "kernels/pilot_dot/pilot_dot.h"
#include "shadowattn/cpu.h"

namespace shadowattn {

/// Keys per page.
inline constexpr int64_t kKeepPage = kPilotKeyBlock;
/// KeepPages::rows must be a multiple; the caller pads with rows of factor zero.
inline constexpr int64_t kKeepRows = 16;
inline constexpr float kKeepAlways = 1e30F;

struct KeepPages {
  const uint16_t* half = nullptr;  ///< [rows][stride] upper halves of f32, finite
  int64_t stride = 0;              ///< elements
  int64_t rows = 0;                ///< multiple of kKeepRows
  int64_t pages = 0;
  const float* factor = nullptr;     ///< [rows] not negative
  const float* weight = nullptr;     ///< [pages · kKeepPage]
  float threshold = 0.0F;            ///< not negative
  const uint16_t* forced = nullptr;  ///< [pages] a bit per key, lowest first, as the next
  const uint16_t* seen = nullptr;    ///< [pages]
  uint16_t* kept = nullptr;          ///< [pages] out
  float* dropped = nullptr;          ///< [pages][rows] out
  float* share = nullptr;            ///< scratch [rows][kKeepPage]
};

struct KeepKernel {
  std::string_view name;
  CpuFeatures needs;
  /// Returns the sum of `change` over the keys that are seen and not kept.
  double (*pages)(const KeepPages& work);
  /// Of rows first … first + pages · kKeepPage - 1 of a tensor, those from `end` on left out:
  /// mean: [pages][dim], weight: [pages · kKeepPage], zero where left out. dim a multiple of 16.
  void (*values)(const RowSource& source, int64_t first, int64_t pages, int64_t end, int64_t dim,
                 float* mean, float* weight);
};

/// Best first; the last runs anywhere.
const std::vector<KeepKernel>& keep_kernels();

}  // namespace shadowattn
