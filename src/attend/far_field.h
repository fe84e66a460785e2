// What rows get of the keys that their list drops: the page means of the values, weighed with the
// estimated shares (kernels/keep/keep.h).
//
// Let K̂ and D̂ be the shares that the estimate gives the kept and the dropped keys of a row, and S,
// O the exact sum of weights and of weighted values over the kept ones. Both scales know the kept
// keys, so that with c = S / K̂ the row's output is
//
//   o = (O + c · Σ_pages D̂_page · mean_page) / (S + c · D̂)
//
// in which any factor of the row that the estimate does not know cancels.
#pragma once

#include <cstdint>

namespace shadowattn {

struct FarField {
  const float* out = nullptr;      ///< [rows][value_dim] Σ_pages D̂_page · mean_page
  const float* dropped = nullptr;  ///< [rows] D̂
  const float* kept = nullptr;     ///< [rows] K̂

  /// Adds what row i gets to its sum and output (value_dim elements).
  void add(int64_t i, int64_t value_dim, float* sum, float* row_out) const {
    if (dropped[i] <= 0.0F || kept[i] <= 0.0F) return;
    const float factor = *sum / kept[i];
    const float* far = out + i * value_dim;
    for (int64_t d = 0; d < value_dim; ++d) row_out[d] += factor * far[d];
    *sum += factor * dropped[i];
  }
};

}  // namespace shadowattn
