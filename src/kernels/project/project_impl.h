// The one body of the `project` kernels, over a SIMD struct of kernels/simd/.
#pragma once

#include <cstdint>

#include "kernels/attend/attend_impl.h"
#include "kernels/project/project.h"
#include "kernels/quantize/quantize.h"

namespace shadowattn {

template <typename Simd>
inline constexpr int kColumnVecs = static_cast<int>(kProjectColumns) / Simd::kLanes;
template <typename Simd>
inline constexpr int kProjectRows =
    Simd::kAccumulators / kColumnVecs<Simd> < 8 ? Simd::kAccumulators / kColumnVecs<Simd> : 8;

/// kRows rows x, [kRows][kProjectMaxDim], times sixteen columns of the map.
template <typename Simd, int kRows>
[[gnu::always_inline]] inline void project_columns(const ProjectRows& work, const float* x,
                                                   int64_t column, float* out) {
  using Vec = typename Simd::Vec;
  constexpr int kVecs = kColumnVecs<Simd>;
  Vec sum[kRows][kVecs];
  unrolled<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
    constexpr int v = i % kVecs;
    sum[i / kVecs][v] =
        work.start != nullptr ? Simd::load(work.start + column + v * Simd::kLanes) : Simd::zero();
  });
  const float* map = work.map + column;
  for (int64_t d = 0; d < work.dim; ++d, map += work.columns) {
    Vec m[kVecs];
    unrolled<kVecs>([&](auto v) __attribute__((always_inline)) {
      m[v] = Simd::load(map + v * Simd::kLanes);
    });
    unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
      const Vec element = Simd::set1(x[r * kProjectMaxDim + d]);
      unrolled<kVecs>([&](auto v) __attribute__((always_inline)) {
        sum[r][v] = Simd::fma(element, m[v], sum[r][v]);
      });
    });
  }
  unrolled<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
    constexpr int r = i / kVecs;
    constexpr int v = i % kVecs;
    Simd::store(out + r * work.columns + column + v * Simd::kLanes, sum[r][v]);
  });
}

template <typename Simd, int kRows>
void project_step(const ProjectRows& work, const float* x, int64_t row) {
  float* out = work.out + row * work.columns;
  for (int64_t column = 0; column < work.columns; column += kProjectColumns) {
    project_columns<Simd, kRows>(work, x, column, out);
  }
}

template <typename Simd, ElementType kType>
void project_typed(const ProjectRows& work) {
  using Block = ElementBlock<Simd, kType>;
  constexpr int64_t kStep = kProjectRows<Simd>;
  alignas(64) float x[kStep * kProjectMaxDim];
  for (int64_t row = 0; row < work.rows; row += kStep) {
    const int64_t count = work.rows - row < kStep ? work.rows - row : kStep;
    for (int64_t r = 0; r < count; ++r) {
      const char* from = source_row(work.source, work.first + (row + r) * work.step);
      for (int64_t d = 0; d < work.dim; d += Block::kElements) {
        const Block block(from, d);
        for (int v = 0; v < Block::kVecs; ++v) {
          Simd::store(x + r * kProjectMaxDim + d + v * Simd::kLanes, block.vec(v));
        }
      }
    }
    if (count == kStep) {
      project_step<Simd, kStep>(work, x, row);
      continue;
    }
    for (int64_t r = 0; r < count; ++r) {
      project_step<Simd, 1>(work, x + r * kProjectMaxDim, row + r);
    }
  }
}

template <typename Simd>
void project_rows(const ProjectRows& work) {
  with_element_type(
      work.source.type, [&](auto type) __attribute__((always_inline)) {
        project_typed<Simd, type.kType>(work);
      });
}

template <typename Simd>
bool project_quantize(const float* x, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                      float* scale) {
  using Vec = typename Simd::Vec;
  bool finite = true;
  for (int64_t r = 0; r < rows; ++r, x += stride, q += dim) {
    Vec largest = Simd::zero();
    for (int64_t d = 0; d < dim; d += Simd::kLanes) {
      largest = Simd::max_magnitude(largest, Simd::load(x + d));
    }
    const float absmax = Simd::reduce_max_magnitude(largest);
    const bool row_finite = absmax <= 0x1.fffffep127F;  // not so for NaN
    finite = finite && row_finite;
    scale[r] = 0.0F;
    if (!row_finite || absmax < kSmallestQuantizable) {
      for (int64_t d = 0; d < dim; ++d) q[d] = 0;
      continue;
    }
    scale[r] = absmax / static_cast<float>(kLargestSeven);
    const Vec inverse = Simd::set1(static_cast<float>(kLargestSeven) / absmax);
    for (int64_t d = 0; d < dim; d += Simd::kLanes) {
      Simd::store_int8(q + d, Simd::mul(Simd::load(x + d), inverse));
    }
  }
  return finite;
}

}  // namespace shadowattn
