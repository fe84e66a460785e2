#include "measure/head_estimate.h"

#include "common/failure.h"
#include "kernels/family.h"

namespace shadowattn::tool::measure {
namespace {

int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

}  // namespace

HeadEstimate::HeadEstimate()
    : quantize_(best_kernel(quantize_kernels(), detect_cpu_features())),
      pilot_(best_kernel(pilot_dot_kernels(), detect_cpu_features())) {}

ScalePair HeadEstimate::measured(const AttentionCall& call, int64_t kv_head, KeyRange range,
                                 DeviceOptions options) {
  options.scale_rule = ScaleRule::kExact;
  options.row_scales = false;
  operands_.reserve(call, pilot_);
  const int64_t padded = round_up(range.end - range.begin, kPilotKeyBlock);
  keys_.resize(static_cast<size_t>(padded * call.key.dim));
  const HeadBucket bucket =
      operands_.prepare_keys(call, options, ScaleChoices::from(options), kv_head, range, padded,
                             quantize_, pilot_, keys_.data());
  if (bucket.use != HeadUse::kDevice) throw Failure("an operand is not finite");
  return {bucket.query_scale, bucket.key_scale};
}

// A pair becomes a grid of one scale per axis, which the nearest rule takes whatever it clips.
DeviceOptions HeadEstimate::choose(const AttentionCall& call, int64_t kv_head, KeyRange range,
                                   const EstimateConfig& config, bool* covered) {
  DeviceOptions options = config.options;
  *covered = true;
  if (config.pairs.empty()) return options;
  ScalePair pair;
  if (options.scale_rule == ScaleRule::kNearest) {
    options.clip_share = 0;
    pair = nearest_pair(config.pairs, measured(call, kv_head, range, options));
  } else {
    const auto found = covering_pair(config.pairs, measured(call, kv_head, range, options));
    *covered = found.has_value();
    if (!found) return options;
    pair = *found;
  }
  options.scale_rule = ScaleRule::kNearest;
  options.query_scales = {pair.query};
  options.key_scales = {pair.key};
  return options;
}

void HeadEstimate::prepare(const AttentionCall& call, int64_t kv_head, KeyRange range,
                           const EstimateConfig& config) {
  call_ = call;
  kv_head_ = kv_head;
  range_ = range;
  bool covered = true;
  const DeviceOptions options = choose(call, kv_head, range, config, &covered);
  const int64_t padded = round_up(range.end - range.begin, kPilotKeyBlock);
  operands_.reserve(call, pilot_);
  keys_.resize(static_cast<size_t>(padded * call.key.dim));
  bucket_ = {};
  if (covered && !config.key_row_scales) {
    bucket_ = operands_.prepare_keys(call, options, ScaleChoices::from(options), kv_head, range,
                                     padded, quantize_, pilot_, keys_.data());
    if (bucket_.use == HeadUse::kNonFinite) throw Failure("an operand is not finite");
  }
  elements_ = 0;
  clipped_ = 0;
  exact_sums_ = config.exact_sums;
  key_scale_.clear();
  if (bucket_.use != HeadUse::kDevice) {
    quantize_key_rows();
    if (config.key_row_scales) bucket_.use = HeadUse::kDevice;
    return;
  }
  elements_ = (range.end - range.begin) * call.key.dim;
  clipped_ = bucket_.clipped_keys;
  packed_keys_.resize(
      static_cast<size_t>(padded / kPilotKeyBlock * pilot_.key_block_bytes(call.key.dim)));
  pilot_.pack_keys(keys_.data(), padded, call.key.dim, packed_keys_.data());
}

void HeadEstimate::quantize_key_rows() {
  const int64_t count = range_.end - range_.begin;
  key_scale_.resize(static_cast<size_t>(count));
  const TensorView& key = call_.key;
  quantize_.of(key.type).rows(key.row(kv_head_, range_.begin), key.row_stride, count, key.dim,
                              keys_.data(), key_scale_.data());
  exact_sums_ = true;
  bucket_.query_scale = 0;  // of each row
}

std::span<const float> HeadEstimate::estimate(int64_t row) {
  const int64_t rows = call_.query.heads / call_.key.heads;
  const int64_t dim = call_.key.dim;
  const int64_t keys = range_.end - range_.begin;
  queries_.resize(static_cast<size_t>(rows * dim));
  query_scale_.resize(static_cast<size_t>(rows));
  clipped_ += DeviceOperands::write_queries(call_, bucket_, kv_head_, {row, 1}, rows, quantize_,
                                            queries_.data(), query_scale_.data());
  elements_ += rows * dim;
  estimate_.resize(static_cast<size_t>(rows * keys));
  if (exact_sums_) {
    exact_sums(rows);
  } else {
    device_scores(rows);
  }
  if (call_.scale < 0) {
    for (float& x : estimate_) x = -x;
  }
  return estimate_;
}

void HeadEstimate::device_scores(int64_t rows) {
  const int64_t dim = call_.key.dim;
  const int64_t keys = range_.end - range_.begin;
  const int64_t padded = round_up(keys, kPilotKeyBlock);
  packed_queries_.resize(static_cast<size_t>(rows * pilot_.query_row_bytes(dim)));
  pilot_.pack_queries(queries_.data(), rows, dim, packed_queries_.data());
  scores_.resize(static_cast<size_t>(rows * padded));
  PilotFixed tile;
  tile.queries = packed_queries_.data();
  tile.rows = rows;
  tile.keys = packed_keys_.data();
  tile.key_blocks = padded / kPilotKeyBlock;
  tile.dim = dim;
  tile.requantisation = bucket_.requantisation;
  tile.scores = scores_.data();
  tile.stride = padded;
  pilot_.fixed_scores(tile);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < keys; ++j) {
      estimate_[static_cast<size_t>(r * keys + j)] = scores_[static_cast<size_t>(r * padded + j)];
    }
  }
}

void HeadEstimate::exact_sums(int64_t rows) {
  const int64_t dim = call_.key.dim;
  const int64_t keys = range_.end - range_.begin;
  for (int64_t r = 0; r < rows; ++r) {
    const int8_t* q = queries_.data() + r * dim;
    for (int64_t j = 0; j < keys; ++j) {
      const int8_t* k = keys_.data() + j * dim;
      int32_t sum = 0;
      for (int64_t d = 0; d < dim; ++d) sum += q[d] * k[d];
      const float scale = key_scale_.empty() ? 1.0F : key_scale_[static_cast<size_t>(j)];
      estimate_[static_cast<size_t>(r * keys + j)] = static_cast<float>(sum) * scale;
    }
  }
}

}  // namespace shadowattn::tool::measure
