// Tensors of q8_0 for tests, beside those of random_tensor.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/half.h"
#include "random_tensor.h"

namespace shadowattn::test {

/// Owns a [heads, rows, dim] tensor of q8_0. Every byte starts as 0xFF, gaps included (a scale of
/// NaN), so that a read outside shows; the allocation ends with the last block.
class Q8Tensor {
 public:
  Q8Tensor(int64_t heads, int64_t rows, int64_t dim, Layout layout = Layout::kDense) {
    const int64_t row = dim / kQ8BlockElements * kQ8BlockBytes;
    int64_t offset = layout == Layout::kGaps || layout == Layout::kMisaligned ? 2 : 0;
    view_ = {nullptr, ElementType::kQ8_0, heads, rows, dim, rows * row, row};
    if (layout == Layout::kRowsFirst) {
      view_.row_stride = heads * row;
      view_.head_stride = row;
    } else if (layout == Layout::kGaps) {
      view_.row_stride = row + 6;
      view_.head_stride = rows * view_.row_stride + 10;
    } else if (layout == Layout::kReversed) {
      offset = (rows - 1) * row;
      view_.row_stride = -row;
    }
    const int64_t last =
        (heads - 1) * view_.head_stride + std::max<int64_t>(0, view_.row_stride) * (rows - 1);
    const auto bytes = static_cast<size_t>(offset + last + row);
    memory_ = std::make_unique<unsigned char[]>(bytes);
    std::memset(memory_.get(), 0xFF, bytes);
    view_.data = memory_.get() + offset;
  }

  /// As ggml quantises: scale = absmax / 127 rounded to f16, q = round(x / unrounded scale).
  Q8Tensor(const TensorView& x, Layout layout) : Q8Tensor(x.heads, x.rows, x.dim, layout) {
    for (int64_t h = 0; h < x.heads; ++h) {
      for (int64_t r = 0; r < x.rows; ++r) {
        for (int64_t first = 0; first < x.dim; first += kQ8BlockElements) {
          quantize_block(x, h, r, first);
        }
      }
    }
  }

  /// Random operands as llama.cpp's cache holds them.
  static Q8Tensor random(int64_t heads, int64_t rows, int64_t dim, Layout layout, uint64_t seed,
                         Content content = Content::kNormal) {
    Tensor x(ElementType::kF32, heads, rows, dim);
    x.fill_random(seed, content);
    return {x.view(), layout};
  }

  const TensorView& view() const { return view_; }

  /// Of the block that holds element d; `half` as bits.
  void set_scale(int64_t head, int64_t row, int64_t d, uint16_t half) {
    std::memcpy(block(head, row, d), &half, sizeof half);
  }
  void set_quant(int64_t head, int64_t row, int64_t d, int8_t q) {
    block(head, row, d)[sizeof(uint16_t) + static_cast<size_t>(d % kQ8BlockElements)] =
        static_cast<unsigned char>(q);
  }

 private:
  unsigned char* block(int64_t head, int64_t row, int64_t d) {
    const auto* data = static_cast<const unsigned char*>(view_.row(head, row));
    return memory_.get() + (data - memory_.get()) + d / kQ8BlockElements * kQ8BlockBytes;
  }

  void quantize_block(const TensorView& x, int64_t head, int64_t row, int64_t first) {
    float absmax = 0.0F;
    for (int64_t d = first; d < first + kQ8BlockElements; ++d) {
      absmax = std::max(absmax, std::fabs(element(x, head, row, d)));
    }
    const float scale = absmax / 127.0F;
    set_scale(head, row, first, float_to_half(scale));
    for (int64_t d = first; d < first + kQ8BlockElements; ++d) {
      const float q = scale > 0.0F ? std::round(element(x, head, row, d) / scale) : 0.0F;
      set_quant(head, row, d, static_cast<int8_t>(q));
    }
  }

  std::unique_ptr<unsigned char[]> memory_;
  TensorView view_;
};

/// The same numbers as dense f32: d · q is exact there.
inline Tensor dequantized(const TensorView& x) {
  Tensor result(ElementType::kF32, x.heads, x.rows, x.dim);
  result.for_each([&](int64_t h, int64_t r, int64_t d) { return element(x, h, r, d); });
  return result;
}

}  // namespace shadowattn::test
