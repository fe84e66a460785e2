#include "score_variant.h"

#include <algorithm>
#include <cmath>

#include "device/scale_grid.h"
#include "shadowattn/device.h"

namespace shadowattn::bench {
namespace {

constexpr int64_t kSampledRows = 64;

const char* scope_name(ScaleScope scope) {
  if (scope == ScaleScope::kTensor) return "head";
  return scope == ScaleScope::kBlock ? "64 keys" : "key";
}

int64_t rows_per_scale(ScaleScope scope, int64_t rows) {
  if (scope == ScaleScope::kTensor) return std::max<int64_t>(rows, 1);
  return scope == ScaleScope::kBlock ? kScaleBlock : 1;
}

}  // namespace

std::string ScoreVariant::name() const {
  std::string text;
  if (format == ScoreFormat::kFloat) {
    text = "float";
  } else {
    text = format == ScoreFormat::kInt32   ? "INT32"
           : format == ScoreFormat::kInt16 ? "INT16"
                                           : "INT8";
    text += std::string(", scales: ") + scope_name(key_scales) + ", " +
            (query_scales == ScaleScope::kTensor ? "head" : "row");
  }
  if (center_keys) text += ", centred";
  if (equalise) text += ", equalised";
  if (rotate) text += ", rotated";
  return text;
}

QuantisedRows quantise_rows(std::span<const float> x, int64_t dim, ScaleScope scope) {
  const auto rows = static_cast<int64_t>(x.size()) / dim;
  const int64_t group = rows_per_scale(scope, rows);
  QuantisedRows result;
  result.q.resize(x.size());
  result.scale.resize(static_cast<size_t>(rows));
  for (int64_t first = 0; first < rows; first += group) {
    const int64_t count = std::min(group, rows - first);
    const auto begin = static_cast<size_t>(first * dim);
    const auto end = begin + static_cast<size_t>(count * dim);
    float largest = 0;
    for (size_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(x[i]));
    const float inverse = largest > 0 ? 127.0F / largest : 0.0F;
    for (size_t i = begin; i < end; ++i) result.q[i] = std::nearbyint(x[i] * inverse);
    std::fill_n(result.scale.begin() + first, count, largest / 127.0F);
  }
  return result;
}

VariantScores::VariantScores(const HeadOperands& operands, const ScoreVariant& variant)
    : dim_(operands.dim),
      keys_(operands.keys),
      heads_(operands.heads),
      rows_(operands.rows),
      logit_scale_(operands.scale),
      variant_(variant),
      query_(operands.query),
      query_scale_(static_cast<size_t>(operands.heads * operands.rows), 1.0F),
      key_factor_(static_cast<size_t>(operands.keys), 1.0F) {
  std::vector<float> keys = operands.key;
  if (variant.center_keys) subtract_mean(dim_, keys);
  if (variant.equalise) equalise(dim_, query_, keys);
  if (variant.rotate) {
    rotate(dim_, keys);
    rotate(dim_, query_);
  }
  if (variant.format != ScoreFormat::kFloat) {
    quantise(keys);
  } else {
    key_ = std::move(keys);
  }
  std::vector<float> transposed(key_.size());
  for (int64_t j = 0; j < keys_; ++j) {
    for (int64_t d = 0; d < dim_; ++d) {
      transposed[static_cast<size_t>(d * keys_ + j)] = key_[static_cast<size_t>(j * dim_ + d)];
    }
  }
  key_ = std::move(transposed);
  if (variant.format == ScoreFormat::kInt8 || variant.format == ScoreFormat::kInt16) {
    choose_multiplier();
  }
}

void VariantScores::quantise(std::span<const float> keys) {
  QuantisedRows key = quantise_rows(keys, dim_, variant_.key_scales);
  QuantisedRows query = quantise_rows(query_, dim_, variant_.query_scales);
  key_ = std::move(key.q);
  query_ = std::move(query.q);
  query_scale_ = std::move(query.scale);
  const float largest = *std::max_element(key.scale.begin(), key.scale.end());
  if (largest > 0) {
    key_scale_ = largest;
    for (size_t j = 0; j < key.scale.size(); ++j) key_factor_[j] = key.scale[j] / largest;
  }
}

// By the engine's rule for a device's static graphs (device/scale_grid.h), from a sample of rows.
void VariantScores::choose_multiplier() {
  std::vector<int16_t> sample;
  std::vector<float> sum(static_cast<size_t>(keys_));
  const int64_t all = heads_ * rows_;
  const int64_t count = std::min(kSampledRows, all);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t flat = all * i / count;
    sums(flat / rows_, flat % rows_, sum);
    for (const float x : sum) {
      sample.push_back(static_cast<int16_t>(std::lrint(x / static_cast<float>(kSampledSumUnit))));
    }
  }
  const DeviceOptions defaults;
  multiplier_ = choose_requantisation(sample, defaults.saturated_share).multiplier();
  if (variant_.format == ScoreFormat::kInt16) multiplier_ *= 32767.0 / 127.0;
}

void VariantScores::sums(int64_t head, int64_t row, std::span<float> out) const {
  constexpr int64_t kChunk = 1024;  // keys whose sums stay in the first-level cache
  const float* q = query_.data() + (head * rows_ + row) * dim_;
  std::fill(out.begin(), out.end(), 0.0F);
  for (int64_t first = 0; first < keys_; first += kChunk) {
    const int64_t count = std::min(kChunk, keys_ - first);
    float* sum = out.data() + first;
    for (int64_t d = 0; d < dim_; ++d) {
      const float* key = key_.data() + d * keys_ + first;
      for (int64_t j = 0; j < count; ++j) sum[j] += q[d] * key[j];  // exact for whole numbers
    }
    for (int64_t j = 0; j < count; ++j) sum[j] *= key_factor_[static_cast<size_t>(first + j)];
  }
}

void VariantScores::estimate(int64_t head, int64_t row, std::span<float> logits) const {
  sums(head, row, logits);
  const double row_scale = query_scale_[static_cast<size_t>(head * rows_ + row)];
  double unit = row_scale * key_scale_ * logit_scale_;
  if (multiplier_ > 0) {
    const float largest = variant_.format == ScoreFormat::kInt8 ? 127.0F : 32767.0F;
    const auto multiplier = static_cast<float>(multiplier_);
    for (float& x : logits) x = std::clamp(std::nearbyint(x * multiplier), -largest, largest);
    unit /= multiplier_;
  }
  const auto factor = static_cast<float>(unit);
  for (float& x : logits) x *= factor;
}

}  // namespace shadowattn::bench
