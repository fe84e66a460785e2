// What an ISA file of the family defines, by instantiating it for each element type. Contracts:
// quantize.h; bodies: quantize_impl.h, which only those files include.
#pragma once

#include <cstdint>

#include "shadowattn/attention.h"

namespace shadowattn {

template <typename Simd, ElementType kType>
struct QuantizeCode {
  static bool rows(const void* src, int64_t stride, int64_t rows, int64_t dim, int8_t* q,
                   float* scale);
  static bool row_scales(const void* src, int64_t stride, int64_t rows, int64_t dim,
                         const float* mean, float* scale);
  static int64_t fixed(const void* src, int64_t stride, int64_t rows, int64_t dim,
                       const float* mean, float inverse, int8_t* q);
  static void add_rows(const void* src, int64_t stride, int64_t rows, int64_t dim, float* sum);
};

}  // namespace shadowattn
