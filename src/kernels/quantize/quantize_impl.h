// The one body of the family, over a SIMD struct of kernels/simd/. Contract: quantize.h.
#pragma once

#include "kernels/quantize/quantize.h"
#include "kernels/simd/load_row.h"

namespace shadowattn {

template <typename Simd, ElementType kType>
bool quantize_rows(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                   float* scale) {
  using Vec = typename Simd::Vec;
  using Block = ElementBlock<Simd, kType>;
  bool finite = true;
  for (int64_t r = 0; r < rows; ++r, q += dim) {
    const char* x = static_cast<const char*>(src) + r * stride;
    Vec largest = Simd::zero();
    bool row_finite = true;
    for (int64_t d = 0; d < dim; d += Block::kElements) {
      const Block block(x, d);
      for (int i = 0; i < Block::kVecs; ++i) {
        const Vec v = block.vec(i);
        row_finite = row_finite && !Simd::any_nonfinite(v);
        largest = Simd::max(largest, Simd::max(v, Simd::sub(Simd::zero(), v)));
      }
    }
    float lanes[Simd::kLanes];
    Simd::store(lanes, largest);
    float absmax = 0.0F;
    for (const float lane : lanes) absmax = lane > absmax ? lane : absmax;

    const bool usable = row_finite && absmax >= kSmallestQuantizable;
    finite = finite && row_finite;
    scale[r] = usable ? absmax / 127.0F : 0.0F;
    if (!usable) {
      for (int64_t d = 0; d < dim; ++d) q[d] = 0;
      continue;
    }
    const Vec inverse = Simd::set1(127.0F / absmax);
    for (int64_t d = 0; d < dim; d += Block::kElements) {
      const Block block(x, d);
      for (int i = 0; i < Block::kVecs; ++i) {
        Simd::store_int8(q + d + i * Simd::kLanes, Simd::mul(block.vec(i), inverse));
      }
    }
  }
  return finite;
}

}  // namespace shadowattn
