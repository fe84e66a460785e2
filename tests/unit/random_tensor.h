// Seeded tensors for tests: any strides, f32 or f16, ordinary and nasty contents.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>

#include "kernels/half.h"
#include "shadowattn/attention.h"

namespace shadowattn::test {

/// The same numbers on every platform: std:: distributions are not specified, the engine is.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  uint64_t bits() { return engine_(); }
  /// Uniform in [0, 1).
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  /// Uniform in [low, high], both included.
  int64_t integer(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(bits() % static_cast<uint64_t>(high - low + 1));
  }
  bool chance(double probability) { return uniform() < probability; }
  double normal() {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }

 private:
  std::mt19937_64 engine_;
};

/// How [heads, rows, dim] lies in memory.
enum class Layout {
  kDense,       ///< [heads][rows][dim]
  kRowsFirst,   ///< [rows][heads][dim], as llama.cpp's cache
  kGaps,        ///< gaps after every row and head
  kMisaligned,  ///< dense, one element off any vector's alignment
  kReversed,    ///< rows backwards: a negative stride
};

inline const char* name(Layout layout) {
  switch (layout) {
    case Layout::kDense:
      return "dense";
    case Layout::kRowsFirst:
      return "rows_first";
    case Layout::kGaps:
      return "gaps";
    case Layout::kMisaligned:
      return "misaligned";
    case Layout::kReversed:
      return "reversed";
  }
  return "";
}

inline constexpr Layout kLayouts[] = {Layout::kDense, Layout::kRowsFirst, Layout::kGaps,
                                      Layout::kMisaligned, Layout::kReversed};

/// What the numbers look like.
enum class Content {
  kNormal,    ///< independent normal numbers
  kPeaky,     ///< a few rows are four times as large: softmax all but picks them
  kOutliers,  ///< a few channels are thirty times as large, as in real keys
};

/// Owns a tensor. Everything starts as NaN, gaps included, so that a read outside shows; the
/// allocation ends with the last element, so that AddressSanitizer sees a read beyond.
class Tensor {
 public:
  Tensor() : Tensor(ElementType::kF32, 1, 0, 0) {}

  Tensor(ElementType type, int64_t heads, int64_t rows, int64_t dim,
         Layout layout = Layout::kDense) {
    const int64_t size = type == ElementType::kF16 ? 2 : 4;
    int64_t offset = 0;
    view_ = {nullptr, type, heads, rows, dim, rows * dim * size, dim * size};
    if (layout == Layout::kRowsFirst) {
      view_.row_stride = heads * dim * size;
      view_.head_stride = dim * size;
    } else if (layout == Layout::kGaps) {
      offset = size;
      view_.row_stride = (dim + 3) * size;
      view_.head_stride = rows * view_.row_stride + 5 * size;
    } else if (layout == Layout::kMisaligned) {
      offset = size;
    } else if (layout == Layout::kReversed) {
      offset = rows > 0 ? (rows - 1) * view_.row_stride : 0;
      view_.row_stride = -view_.row_stride;
    }
    int64_t bytes = 0;
    if (heads > 0 && rows > 0 && dim > 0) {
      const int64_t last_row = std::max<int64_t>(0, view_.row_stride) * (rows - 1);
      bytes = offset + (heads - 1) * view_.head_stride + last_row + dim * size;
      if (layout == Layout::kReversed) bytes = heads * rows * dim * size;
    }
    memory_ = std::make_unique<std::byte[]>(static_cast<size_t>(bytes));
    const uint32_t nan32 = 0x7FC00000U;
    const uint16_t nan16 = 0x7E00U;
    for (int64_t i = 0; i + size <= bytes; i += size) {
      if (size == 4) std::memcpy(memory_.get() + i, &nan32, 4);
      if (size == 2) std::memcpy(memory_.get() + i, &nan16, 2);
    }
    view_.data = memory_.get() + (bytes > 0 ? offset : 0);
  }

  const TensorView& view() const { return view_; }
  /// The same memory as an output; f32 only.
  OutputView output() {
    return {reinterpret_cast<float*>(memory_.get() + (at(0, 0, 0) - memory_.get())),
            view_.heads,
            view_.rows,
            view_.dim,
            view_.head_stride,
            view_.row_stride};
  }

  /// Rounds to f16 when the tensor is.
  void set(int64_t head, int64_t row, int64_t d, double value) {
    const auto number = static_cast<float>(value);
    if (view_.type == ElementType::kF16) {
      const uint16_t half = float_to_half(number);
      std::memcpy(at(head, row, d), &half, sizeof half);
    } else {
      std::memcpy(at(head, row, d), &number, sizeof number);
    }
  }

  void fill(double value) {
    for_each([&](int64_t, int64_t, int64_t) { return value; });
  }

  void fill_row(int64_t head, int64_t row, double value) {
    for (int64_t d = 0; d < view_.dim; ++d) set(head, row, d, value);
  }

  void fill_random(uint64_t seed, Content content = Content::kNormal, double scale = 1.0) {
    Random random(seed);
    double row_factor = 1.0;
    for_each([&](int64_t, int64_t, int64_t d) {
      if (d == 0) row_factor = content == Content::kPeaky && random.chance(0.05) ? 4.0 : 1.0;
      const double channel = content == Content::kOutliers && d % 13 == 5 ? 30.0 : 1.0;
      return scale * row_factor * channel * random.normal();
    });
  }

  template <typename Function>
  void for_each(const Function& value) {
    for (int64_t h = 0; h < view_.heads; ++h) {
      for (int64_t r = 0; r < view_.rows; ++r) {
        for (int64_t d = 0; d < view_.dim; ++d) set(h, r, d, value(h, r, d));
      }
    }
  }

 private:
  std::byte* at(int64_t head, int64_t row, int64_t d) {
    const int64_t size = view_.type == ElementType::kF16 ? 2 : 4;
    const auto* base = static_cast<const std::byte*>(view_.data);
    return memory_.get() + (base - memory_.get()) + head * view_.head_stride +
           row * view_.row_stride + d * size;
  }

  std::unique_ptr<std::byte[]> memory_;
  TensorView view_;
};

/// One element of any view.
inline float element(const TensorView& view, int64_t head, int64_t row, int64_t d) {
  const char* p = static_cast<const char*>(view.row(head, row));
  if (view.type == ElementType::kF16) {
    uint16_t half;
    std::memcpy(&half, p + d * 2, sizeof half);
    return half_to_float(half);
  }
  if (view.type == ElementType::kQ8_0) {
    const char* block = p + d / kQ8BlockElements * kQ8BlockBytes;
    uint16_t half;
    std::memcpy(&half, block, sizeof half);
    return half_to_float(half) * static_cast<int8_t>(block[2 + d % kQ8BlockElements]);
  }
  float value;
  std::memcpy(&value, p + d * 4, sizeof value);
  return value;
}

inline float element(const OutputView& view, int64_t head, int64_t row, int64_t d) {
  return view.row(head, row)[d];
}

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

}  // namespace shadowattn::test
