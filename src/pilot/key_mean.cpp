#include "pilot/key_mean.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace shadowattn {

const float* KeyMean::choose(const AttentionCall& call, int64_t kv_head, int64_t begin, int64_t end,
                             const QuantizeKernel& quantize) {
  const int64_t dim = call.key.dim;
  float* mean = mean_.data();
  float* scale = scale_.data();
  if (end <= begin) return nullptr;
  const int64_t step = (end - begin + kMeanSample - 1) / kMeanSample;
  const int64_t first = begin + step / 2;
  const int64_t count = (end - first + step - 1) / step;
  const void* sample = call.key.row(kv_head, first);
  const int64_t stride = step * call.key.row_stride;
  const QuantizeFunctions& functions = quantize.of(call.key.type);

  std::fill_n(mean, dim, 0.0F);
  functions.add_rows(sample, stride, count, dim, mean);
  for (int64_t d = 0; d < dim; ++d) {
    mean[d] /= static_cast<float>(count);
    if (!std::isfinite(mean[d])) return nullptr;
  }
  if (!functions.row_scales(sample, stride, count, dim, nullptr, scale)) return nullptr;
  const double as_they_are = std::accumulate(scale, scale + count, 0.0);
  if (!functions.row_scales(sample, stride, count, dim, mean, scale)) return nullptr;
  return std::accumulate(scale, scale + count, 0.0) < as_they_are ? mean : nullptr;
}

bool quantize_centred(const QuantizeFunctions& quantize, const void* src, int64_t stride,
                      int64_t rows, int64_t dim, const float* mean, int8_t* q, float* scale) {
  if (mean == nullptr) return quantize.rows(src, stride, rows, dim, q, scale);
  const bool finite = quantize.row_scales(src, stride, rows, dim, mean, scale);
  for (int64_t r = 0; r < rows; ++r) {
    const void* row = static_cast<const char*>(src) + r * stride;
    if (scale[r] > 0.0F) {
      quantize.fixed(row, stride, 1, dim, mean, 1.0F / scale[r], q + r * dim);
    } else {
      std::fill_n(q + r * dim, dim, static_cast<int8_t>(0));
    }
  }
  return finite;
}

}  // namespace shadowattn
