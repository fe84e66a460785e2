// The one body of the family, over a SIMD struct of kernels/simd/. Contract: quantize.h.
#pragma once

#include "kernels/quantize/quantize.h"
#include "kernels/quantize/quantize_code.h"
#include "kernels/simd/load_row.h"

namespace shadowattn {

/// v less the means of elements d and on; null: zeros.
template <typename Simd>
[[gnu::always_inline]] inline typename Simd::Vec centred(typename Simd::Vec v, const float* mean,
                                                         int64_t d) {
  return mean == nullptr ? v : Simd::sub(v, Simd::load(mean + d));
}

template <typename Simd>
[[gnu::always_inline]] inline typename Simd::Vec magnitude(typename Simd::Vec v) {
  return Simd::max(v, Simd::sub(Simd::zero(), v));
}

/// The largest |x - mean| of a row; infinity or NaN when one is not finite.
template <typename Simd, ElementType kType>
[[gnu::always_inline]] inline float row_absmax(const char* x, int64_t dim, const float* mean) {
  using Block = ElementBlock<Simd, kType>;
  typename Simd::Vec largest = Simd::zero();
  for (int64_t d = 0; d < dim; d += Block::kElements) {
    const Block block(x, d);
    for (int i = 0; i < Block::kVecs; ++i) {
      largest =
          Simd::max_magnitude(largest, centred<Simd>(block.vec(i), mean, d + i * Simd::kLanes));
    }
  }
  return Simd::reduce_max_magnitude(largest);
}

[[gnu::always_inline]] inline bool is_finite(float absmax) { return absmax <= 0x1.fffffep127F; }

template <typename Simd, ElementType kType>
bool QuantizeCode<Simd, kType>::rows(const void* src, int64_t stride, int64_t rows, int64_t dim,
                                     int8_t* q, float* scale) {
  using Vec = typename Simd::Vec;
  using Block = ElementBlock<Simd, kType>;
  bool finite = true;
  for (int64_t r = 0; r < rows; ++r, q += dim) {
    const char* x = static_cast<const char*>(src) + r * stride;
    const float absmax = row_absmax<Simd, kType>(x, dim, nullptr);
    const bool row_finite = is_finite(absmax);
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

template <typename Simd, ElementType kType>
bool QuantizeCode<Simd, kType>::row_scales(const void* src, int64_t stride, int64_t rows,
                                           int64_t dim, const float* mean, float* scale) {
  bool finite = true;
  for (int64_t r = 0; r < rows; ++r) {
    const char* x = static_cast<const char*>(src) + r * stride;
    const float absmax = row_absmax<Simd, kType>(x, dim, mean);
    const bool row_finite = is_finite(absmax);
    finite = finite && row_finite;
    scale[r] = row_finite && absmax >= kSmallestQuantizable ? absmax / 127.0F : 0.0F;
  }
  return finite;
}

template <typename Simd, ElementType kType>
int64_t QuantizeCode<Simd, kType>::fixed(const void* src, int64_t stride, int64_t rows, int64_t dim,
                                         const float* mean, float inverse, int8_t* q) {
  using Vec = typename Simd::Vec;
  using Block = ElementBlock<Simd, kType>;
  const Vec factor = Simd::set1(inverse);
  const Vec low = Simd::set1(-127.0F);
  const Vec high = Simd::set1(127.0F);
  const Vec limit = Simd::set1(127.5F);
  int64_t clipped = 0;
  for (int64_t r = 0; r < rows; ++r, q += dim) {
    const char* x = static_cast<const char*>(src) + r * stride;
    for (int64_t d = 0; d < dim; d += Block::kElements) {
      const Block block(x, d);
      for (int i = 0; i < Block::kVecs; ++i) {
        const int64_t at = d + i * Simd::kLanes;
        const Vec v = Simd::mul(centred<Simd>(block.vec(i), mean, at), factor);
        clipped += Simd::count_less(limit, magnitude<Simd>(v));
        Simd::store_int8(q + at, Simd::min(Simd::max(v, low), high));
      }
    }
  }
  return clipped;
}

template <typename Simd, ElementType kType>
void QuantizeCode<Simd, kType>::add_rows(const void* src, int64_t stride, int64_t rows, int64_t dim,
                                         float* sum) {
  using Vec = typename Simd::Vec;
  using Block = ElementBlock<Simd, kType>;
  for (int64_t d = 0; d < dim; d += Block::kElements) {
    Vec acc[Block::kVecs];
    for (int i = 0; i < Block::kVecs; ++i) acc[i] = Simd::load(sum + d + i * Simd::kLanes);
    for (int64_t r = 0; r < rows; ++r) {
      const Block block(static_cast<const char*>(src) + r * stride, d);
      for (int i = 0; i < Block::kVecs; ++i) acc[i] = Simd::add(acc[i], block.vec(i));
    }
    for (int i = 0; i < Block::kVecs; ++i) Simd::store(sum + d + i * Simd::kLanes, acc[i]);
  }
}

}  // namespace shadowattn
