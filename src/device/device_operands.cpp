#include "device/device_operands.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "pilot/estimate_error.h"

namespace shadowattn {
namespace {

// The sample that the multiplier is chosen from.
constexpr int64_t kSampleRows = 32;
constexpr int64_t kSampleBlocks = 16;
constexpr int64_t kSampleKeys = kSampleBlocks * kPilotKeyBlock;

/// By the rule of `options`; empty: out of the grid.
std::optional<float> scale_of(const ScaleGrid& grid, const DeviceOptions& options,
                              std::span<float> row_scales) {
  if (options.scale_rule == ScaleRule::kNearest) return nearest_scale(grid, row_scales);
  return choose_scale(grid, row_scales, options.clip_share);
}

ScaleGrid grid_of(const std::vector<float>& scales, ScaleRule rule) {
  ScaleGrid grid = scales.empty() ? geometric_grid() : ScaleGrid{scales};
  grid.exact = rule == ScaleRule::kExact;
  return grid;
}

double largest_query_norm2(const AttentionCall& call, int64_t kv_head) {
  const int64_t group_heads = call.query.heads / call.key.heads;
  double largest = 0.0;
  for (int64_t h = kv_head * group_heads; h < (kv_head + 1) * group_heads; ++h) {
    for (int64_t i = 0; i < call.query.rows; ++i) {
      const auto* q = static_cast<const float*>(call.query.row(h, i));
      float norm2 = 0.0F;
      for (int64_t d = 0; d < call.query.dim; ++d) norm2 += q[d] * q[d];
      largest = std::max<double>(largest, norm2);
    }
  }
  return largest;
}

}  // namespace

ScaleChoices ScaleChoices::from(const DeviceOptions& options) {
  return {grid_of(options.query_scales, options.scale_rule),
          grid_of(options.key_scales, options.scale_rule)};
}

void DeviceOperands::reserve(const AttentionCall& call, const PilotDotKernel& pilot) {
  const int64_t dim = call.key.dim;
  const int64_t group_rows = call.query.heads / call.key.heads * call.query.rows;
  row_scale_.reserve(std::max(call.key.rows, group_rows));
  mean_.reserve(2 * dim);
  total_.reserve(dim);
  sample_.reserve(std::max(kSampleRows, kPilotKeyBlock) * dim);
  packed_queries_.reserve(kSampleRows * pilot.query_row_bytes(dim));
  packed_keys_.reserve(kSampleBlocks * pilot.key_block_bytes(dim));
  sums_.reserve(kSampleRows * kSampleKeys);
  // |sum| ≤ 256 · 127² < 2^22: in units of kSampledSumUnit it fits the 16 bits of a score.
  float* factor = factor_.reserve(kSampleKeys + kSampleRows);
  std::fill_n(factor, kSampleKeys, 1.0F);
  std::fill_n(factor + kSampleKeys, kSampleRows, 1.0F / kSampledSumUnit);
}

const float* DeviceOperands::mean_of(const AttentionCall& call, int64_t kv_head, KeyRange range,
                                     const QuantizeKernel& quantize) {
  constexpr int64_t kChunk = 512;  // sums of so few rows lose nothing in f32
  const int64_t dim = call.key.dim;
  float* sum = mean_.data();
  std::fill_n(total_.data(), dim, 0.0);
  for (int64_t first = range.begin; first < range.end; first += kChunk) {
    std::fill_n(sum, dim, 0.0F);
    quantize.of(call.key.type)
        .add_rows(call.key.row(kv_head, first), call.key.row_stride,
                  std::min(kChunk, range.end - first), dim, sum);
    for (int64_t d = 0; d < dim; ++d) total_.data()[d] += sum[d];
  }
  float* mean = sum + dim;
  const auto keys = static_cast<double>(std::max<int64_t>(range.end - range.begin, 1));
  for (int64_t d = 0; d < dim; ++d) {
    mean[d] = static_cast<float>(total_.data()[d] / keys);
    if (!std::isfinite(mean[d])) mean[d] = 0.0F;  // row_scales will find out why
  }
  return mean;
}

bool DeviceOperands::choose_scales(const AttentionCall& call, const DeviceOptions& options,
                                   const ScaleChoices& choices, int64_t kv_head, KeyRange range,
                                   const float* mean, const QuantizeKernel& quantize,
                                   HeadBucket* bucket) {
  const int64_t dim = call.key.dim;
  const int64_t group_heads = call.query.heads / call.key.heads;
  const int64_t rows = call.query.rows;
  float* scale = row_scale_.data();
  bool finite = true;
  for (int64_t h = 0; h < group_heads; ++h) {
    finite &= quantize.of(call.query.type)
                  .row_scales(call.query.row(kv_head * group_heads + h, 0), call.query.row_stride,
                              rows, dim, nullptr, scale + h * rows);
  }
  std::optional<float> query_scale = 0.0F;
  if (finite && !options.row_scales) {
    query_scale =
        scale_of(choices.query, options, {scale, static_cast<size_t>(group_heads * rows)});
  }
  const int64_t keys = range.end - range.begin;
  finite = finite && quantize.of(call.key.type)
                         .row_scales(call.key.row(kv_head, range.begin), call.key.row_stride, keys,
                                     dim, mean, scale);
  if (!finite) {
    bucket->use = HeadUse::kNonFinite;
    return false;
  }
  const std::optional<float> key_scale =
      scale_of(choices.key, options, {scale, static_cast<size_t>(keys)});
  if (!query_scale || !key_scale) return false;
  bucket->query_scale = *query_scale;
  bucket->key_scale = *key_scale;
  return true;
}

Requantisation DeviceOperands::choose_multiplier(const AttentionCall& call,
                                                 const DeviceOptions& options,
                                                 const HeadBucket& bucket, int64_t kv_head,
                                                 int64_t key_count, const QuantizeKernel& quantize,
                                                 const PilotDotKernel& pilot, const int8_t* keys) {
  const int64_t dim = call.key.dim;
  const int64_t all_rows = call.query.heads / call.key.heads * call.query.rows;
  const int64_t rows = std::min(kSampleRows, all_rows);
  for (int64_t i = 0; i < rows; ++i) {
    float scale = 0.0F;
    quantize_query(call, bucket, kv_head, all_rows * i / rows, quantize, sample_.data() + i * dim,
                   &scale);
  }
  pilot.pack_queries(sample_.data(), rows, dim, packed_queries_.data());

  const int64_t whole_blocks = std::max<int64_t>(key_count / kPilotKeyBlock, 1);
  const int64_t blocks = std::min(kSampleBlocks, whole_blocks);
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t first = whole_blocks * i / blocks * kPilotKeyBlock;
    pilot.pack_keys(keys + first * dim, std::min(kPilotKeyBlock, key_count - first), dim,
                    packed_keys_.data() + i * pilot.key_block_bytes(dim));
  }
  PilotTile tile;
  tile.queries = packed_queries_.data();
  tile.rows = rows;
  tile.keys = packed_keys_.data();
  tile.key_blocks = blocks;
  tile.dim = dim;
  tile.key_factor = factor_.data();
  tile.row_factor = factor_.data() + kSampleKeys;
  tile.scores = sums_.data();
  tile.stride = blocks * kPilotKeyBlock;
  pilot.scores(tile);
  return choose_requantisation({sums_.data(), static_cast<size_t>(rows * tile.stride)},
                               options.saturated_share);
}

HeadBucket DeviceOperands::prepare_keys(const AttentionCall& call, const DeviceOptions& options,
                                        const ScaleChoices& choices, int64_t kv_head,
                                        KeyRange range, int64_t padded_keys,
                                        const QuantizeKernel& quantize, const PilotDotKernel& pilot,
                                        int8_t* keys) {
  const int64_t dim = call.key.dim;
  const int64_t count = range.end - range.begin;
  HeadBucket bucket;
  const float* mean = options.center_keys ? mean_of(call, kv_head, range, quantize) : nullptr;
  if (!choose_scales(call, options, choices, kv_head, range, mean, quantize, &bucket)) {
    return bucket;
  }
  bucket.clipped_keys = quantize.of(call.key.type)
                            .fixed(call.key.row(kv_head, range.begin), call.key.row_stride, count,
                                   dim, mean, 1.0F / bucket.key_scale, keys);
  std::memset(keys + count * dim, 0, static_cast<size_t>((padded_keys - count) * dim));
  bucket.requantisation =
      choose_multiplier(call, options, bucket, kv_head, count, quantize, pilot, keys);
  bucket.query_norm2 = largest_query_norm2(call, kv_head);
  for (int64_t j = 0; j < count; ++j) {
    bucket.key_norm2 =
        std::max(bucket.key_norm2, largest_norm2_of(keys + j * dim, &bucket.key_scale, 1, dim));
  }
  bucket.use = HeadUse::kDevice;
  return bucket;
}

int64_t DeviceOperands::quantize_query(const AttentionCall& call, const HeadBucket& bucket,
                                       int64_t kv_head, int64_t group_row,
                                       const QuantizeKernel& quantize, int8_t* q, float* scale) {
  const TensorView& query = call.query;
  const int64_t group_heads = query.heads / call.key.heads;
  const void* row =
      query.row(kv_head * group_heads + group_row % group_heads, group_row / group_heads);
  const QuantizeFunctions& functions = quantize.of(query.type);
  if (bucket.query_scale == 0.0F) {
    functions.rows(row, query.row_stride, 1, query.dim, q, scale);
    return 0;
  }
  *scale = bucket.query_scale;
  return functions.fixed(row, query.row_stride, 1, query.dim, nullptr, 1.0F / bucket.query_scale,
                         q);
}

int64_t DeviceOperands::write_queries(const AttentionCall& call, const HeadBucket& bucket,
                                      int64_t kv_head, RowRange rows, int64_t padded_rows,
                                      const QuantizeKernel& quantize, int8_t* queries,
                                      float* scale) {
  const int64_t dim = call.query.dim;
  const int64_t group_heads = call.query.heads / call.key.heads;
  const int64_t count = rows.count * group_heads;
  int64_t clipped = 0;
  for (int64_t i = 0; i < count; ++i) {
    clipped += quantize_query(call, bucket, kv_head, rows.first * group_heads + i, quantize,
                              queries + i * dim, scale + i);
  }
  std::memset(queries + count * dim, 0, static_cast<size_t>((padded_rows - count) * dim));
  return clipped;
}

int64_t DeviceOperands::scratch_bytes() const {
  return row_scale_.bytes() + mean_.bytes() + total_.bytes() + sample_.bytes() +
         packed_queries_.bytes() + packed_keys_.bytes() + sums_.bytes() + factor_.bytes();
}

}  // namespace shadowattn
