#include "paper/scale_samples.h"

#include <algorithm>
#include <cmath>

#include "device/scale_grid.h"
#include "measure/tensor_element.h"
#include "shadowattn/device.h"

namespace shadowattn::tool::paper {
namespace {

constexpr float kLargestCode = 127.0F;

/// Rows of one head as floats.
struct Rows {
  int64_t dim = 0;
  std::vector<float> elements;  // [rows][dim]
};

Rows rows_of(const TensorView& view, int64_t head, int64_t first, int64_t end) {
  Rows rows{view.dim, {}};
  rows.elements.reserve(static_cast<size_t>((end - first) * view.dim));
  for (int64_t row = first; row < end; ++row) {
    for (int64_t d = 0; d < view.dim; ++d) {
      rows.elements.push_back(static_cast<float>(measure::element(view, head, row, d)));
    }
  }
  return rows;
}

/// The scale of each row's largest element.
std::vector<float> row_scales(const Rows& rows) {
  std::vector<float> scales;
  const auto dim = static_cast<size_t>(rows.dim);
  for (size_t start = 0; start < rows.elements.size(); start += dim) {
    float largest = 0;
    for (size_t i = start; i < start + dim; ++i) {
      largest = std::max(largest, std::fabs(rows.elements[i]));
    }
    scales.push_back(largest / kLargestCode);
  }
  return scales;
}

void subtract_mean(Rows* rows) {
  const auto dim = static_cast<size_t>(rows->dim);
  const auto count = static_cast<double>(rows->elements.size() / dim);
  std::vector<double> mean(dim, 0.0);
  for (size_t i = 0; i < rows->elements.size(); ++i) mean[i % dim] += rows->elements[i] / count;
  for (size_t i = 0; i < rows->elements.size(); ++i) {
    rows->elements[i] -= static_cast<float>(mean[i % dim]);
  }
}

/// Elements that would round to a code above 127.
double clipped_share(const Rows& rows, float scale) {
  const float limit = scale * (kLargestCode + 0.5F);
  const auto beyond = std::count_if(rows.elements.begin(), rows.elements.end(),
                                    [limit](float x) { return std::fabs(x) >= limit; });
  return static_cast<double>(beyond) / static_cast<double>(rows.elements.size());
}

float grid_scale(std::vector<float> scales) {
  return choose_scale(geometric_grid(), scales, DeviceOptions().clip_share).value_or(0.0F);
}

float largest_of(const std::vector<float>& scales) {
  return scales.empty() ? 0.0F : *std::max_element(scales.begin(), scales.end());
}

}  // namespace

std::vector<ScaleSample> sample_scales(const AttentionCall& call, int64_t first_key,
                                       int64_t end_key, std::span<const measure::ScalePair> pairs) {
  std::vector<ScaleSample> samples;
  const int64_t group = call.query.heads / call.key.heads;
  for (int64_t kv_head = 0; kv_head < call.key.heads; ++kv_head) {
    const Rows keys = rows_of(call.key, kv_head, first_key, end_key);
    const float key_scale = largest_of(row_scales(keys));
    Rows centred = keys;
    subtract_mean(&centred);
    const float key_grid = grid_scale(row_scales(centred));
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      const Rows queries = rows_of(call.query, head, 0, call.query.rows);
      const std::vector<float> scales = row_scales(queries);
      ScaleSample sample;
      sample.layer = call.layer;
      sample.head = head;
      sample.needed = {largest_of(scales), key_scale};
      const measure::ScalePair nearest = measure::nearest_pair(pairs, sample.needed);
      sample.pair =
          static_cast<size_t>(std::find(pairs.begin(), pairs.end(), nearest) - pairs.begin());
      sample.clipped_queries = clipped_share(queries, nearest.query);
      sample.clipped_keys = clipped_share(keys, nearest.key);
      sample.grid = {grid_scale(scales), key_grid};
      samples.push_back(sample);
    }
  }
  return samples;
}

bool is_clipped(const ScaleSample& sample, std::span<const measure::ScalePair> pairs) {
  const measure::ScalePair& pair = pairs[sample.pair];
  return sample.needed.query > pair.query || sample.needed.key > pair.key;
}

}  // namespace shadowattn::tool::paper
