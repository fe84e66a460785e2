// Rows of f32, f16 or q8_0 as vectors of f32. A kernel walks a row one ElementBlock at a time:
//
//   for (int64_t d = 0; d < dim; d += Block::kElements) {
//     const Block x(row, d);
//     for (int i = 0; i < Block::kVecs; ++i) … x.vec(i) …   // elements d + i · kLanes and on
//   }
#pragma once

#include <cstdint>

#include "shadowattn/attention.h"

namespace shadowattn {

/// What is read at once: one vector, or as much as shares a scale. `d` is a multiple of kElements.
template <typename Simd, ElementType kType>
struct ElementBlock;

template <typename Simd>
struct ElementBlock<Simd, ElementType::kF32> {
  static constexpr int kVecs = 1;
  static constexpr int64_t kElements = Simd::kLanes;

  ElementBlock(const char* row, int64_t d) : x(reinterpret_cast<const float*>(row) + d) {}
  typename Simd::Vec vec(int) const { return Simd::load(x); }

  const float* x;
};

template <typename Simd>
struct ElementBlock<Simd, ElementType::kF16> {
  static constexpr int kVecs = 1;
  static constexpr int64_t kElements = Simd::kLanes;

  ElementBlock(const char* row, int64_t d) : x(reinterpret_cast<const uint16_t*>(row) + d) {}
  typename Simd::Vec vec(int) const { return Simd::load_half(x); }

  const uint16_t* x;
};

/// d · q has 19 bits at most: the product is exact, so every instruction set gives the same bits.
template <typename Simd>
struct ElementBlock<Simd, ElementType::kQ8_0> {
  static constexpr int kVecs = static_cast<int>(kQ8BlockElements) / Simd::kLanes;
  static constexpr int64_t kElements = kQ8BlockElements;

  ElementBlock(const char* row, int64_t d) {
    const char* block = row + d / kQ8BlockElements * kQ8BlockBytes;
    scale = Simd::set1_half(reinterpret_cast<const uint16_t*>(block));
    q = reinterpret_cast<const int8_t*>(block + sizeof(uint16_t));
  }
  typename Simd::Vec vec(int i) const {
    return Simd::mul(scale, Simd::load_int8(q + i * Simd::kLanes));
  }

  typename Simd::Vec scale;
  const int8_t* q;
};

/// A type as a constant, for `with_element_type`.
template <ElementType kValue>
struct ElementTypeConstant {
  static constexpr ElementType kType = kValue;
};

/// function(ElementTypeConstant<type>()): one body of code for each type.
template <typename Function>
[[gnu::always_inline]] inline auto with_element_type(ElementType type, Function&& function) {
  switch (type) {
    case ElementType::kQ8_0:
      return function(ElementTypeConstant<ElementType::kQ8_0>());
    case ElementType::kF16:
      return function(ElementTypeConstant<ElementType::kF16>());
    case ElementType::kF32:
      break;
  }
  return function(ElementTypeConstant<ElementType::kF32>());
}

/// Bytes that a row takes.
[[gnu::always_inline]] inline int64_t row_bytes(ElementType type, int64_t dim) {
  if (type == ElementType::kQ8_0) return dim / kQ8BlockElements * kQ8BlockBytes;
  return dim * (type == ElementType::kF16 ? 2 : 4);
}

}  // namespace shadowattn
