// Which keys the engine must keep with the estimate of a device: scales, means, the multiplier and
// every INT8 score from the formulas of shadowattn/device.h, device/scale_grid.h and
// device/device_scores.h, by sorting and plain loops.
#pragma once

#include <optional>

#include "selection_reference.h"

namespace shadowattn::test {

class DeviceSelectionReference final : public SelectionReference {
 public:
  DeviceSelectionReference(const AttentionCall& call, const EngineOptions& options)
      : SelectionReference(call, options), device_(options.device) {
    for (int64_t kv = 0; kv < call.key.heads; ++kv) heads_.push_back(prepare(kv));
  }

  /// KV heads that the device estimates.
  int64_t on_device() const {
    return std::ranges::count_if(heads_, [](const Head& head) { return head.usable; });
  }

 protected:
  std::vector<int16_t> rank_by_share(const std::vector<HeadRow>& list) const override {
    if (!heads_[kv_of(list.front())].usable) return SelectionReference::rank_by_share(list);
    std::vector<int16_t> importance(static_cast<size_t>(call_.key.rows), kHiddenScore);
    const auto [begin, end] = seen_by(list);
    if (begin >= end) return importance;
    const Sample from = sample(begin, end);
    std::vector<float> shares(importance.size(), 0.0F);
    for (const HeadRow& at : list) {
      const double unit = log2_per_unit(at);
      const int sign = unit < 0.0 ? -1 : 1;
      const std::vector<int16_t> scores = with_biases(
          at, 0.0, [&](int64_t j) { return static_cast<int16_t>(sign * score(at, j)); });
      const auto [slope, offset] =
          line(at, scores, unit == 0.0 ? 0.0 : 1.0 / std::fabs(unit), unit * 0x1p23, from);
      for (int64_t j = begin; j < end; ++j) {
        const double bits = std::fma(static_cast<float>(score(at, j)), slope, offset);
        shares[static_cast<size_t>(j)] +=
            std::bit_cast<float>(static_cast<uint32_t>(std::clamp(bits, 0.0, 247.0 * 0x1p23)));
      }
    }
    for (int64_t j = begin; j < end; ++j) {
      if (!any_sees(list, j)) continue;
      importance[static_cast<size_t>(j)] =
          static_cast<int16_t>(std::bit_cast<uint32_t>(shares[static_cast<size_t>(j)]) >> 16);
    }
    return importance;
  }

  std::vector<int16_t> rank(const std::vector<HeadRow>& rows) const override {
    if (!heads_[kv_of(rows.front())].usable) return SelectionReference::rank(rows);
    std::vector<int16_t> importance(static_cast<size_t>(call_.key.rows), kHiddenScore);
    for (const HeadRow& at : rows) {
      const double unit = log2_per_unit(at);
      const int sign = unit < 0.0 ? -1 : 1;
      const double units = unit == 0.0 ? 0.0 : 256.0 / (std::fabs(unit) * 0.6931471805599453);
      const std::vector<int16_t> scores = with_biases(
          at, units, [&](int64_t j) { return static_cast<int16_t>(sign * 256 * score(at, j)); });
      if (rows.size() == 1) return scores;
      merge(scores, level(scores, units), importance);
    }
    return importance;
  }

 private:
  struct Head {
    bool usable = false;
    float key_scale = 0.0F;
    std::vector<QuantizedRow> keys;                  // [key - begin]
    std::vector<std::vector<QuantizedRow>> queries;  // [head of the group][row]
    Requantisation requantisation;
  };

  static float row_scale(const TensorView& x, int64_t head, int64_t row,
                         const std::vector<float>& mean) {
    float absmax = 0.0F;
    for (int64_t d = 0; d < x.dim; ++d) {
      const float value = element(x, head, row, d) - mean[static_cast<size_t>(d)];
      if (!std::isfinite(value)) return std::numeric_limits<float>::infinity();
      absmax = std::max(absmax, std::fabs(value));
    }
    return absmax < kSmallestQuantizable ? 0.0F : absmax / 127.0F;
  }

  static QuantizedRow quantise(const TensorView& x, int64_t head, int64_t row,
                               const std::vector<float>& mean, float scale) {
    QuantizedRow result;
    result.scale = scale;
    const float inverse = 1.0F / scale;
    for (int64_t d = 0; d < x.dim; ++d) {
      const float centred = element(x, head, row, d) - mean[static_cast<size_t>(d)];
      const float steps = centred * inverse;
      result.q.push_back(static_cast<int8_t>(std::nearbyint(std::clamp(steps, -127.0F, 127.0F))));
    }
    return result;
  }

  /// Sums of 512 rows in f32, these in double.
  std::vector<float> mean_of(int64_t kv) const {
    const auto dim = static_cast<size_t>(call_.key.dim);
    std::vector<double> total(dim, 0.0);
    for (int64_t first = begin_; first < end_; first += 512) {
      std::vector<float> sum(dim, 0.0F);
      for (int64_t j = first; j < std::min(first + 512, end_); ++j) {
        for (size_t d = 0; d < dim; ++d) {
          sum[d] += element(call_.key, kv, j, static_cast<int64_t>(d));
        }
      }
      for (size_t d = 0; d < dim; ++d) total[d] += sum[d];
    }
    std::vector<float> mean(dim);
    for (size_t d = 0; d < dim; ++d) {
      mean[d] = static_cast<float>(total[d] / static_cast<double>(end_ - begin_));
      if (!std::isfinite(mean[d])) mean[d] = 0.0F;
    }
    return mean;
  }

  /// floor(share · count) of the values may be larger; 0 when all may.
  template <typename T>
  static T exceeded_by(std::vector<T> values, double share) {
    const auto allowed = static_cast<size_t>(share * static_cast<double>(values.size()));
    std::sort(values.rbegin(), values.rend());
    return allowed < values.size() ? values[allowed] : T{0};
  }

  static std::vector<float> grid(const std::vector<float>& scales) {
    if (!scales.empty()) return scales;
    std::vector<float> steps;
    for (int k = -28; k <= 12; ++k) steps.push_back(static_cast<float>(std::exp2(k / 2.0)));
    return steps;
  }

  std::optional<float> choose(const std::vector<float>& rows,
                              const std::vector<float>& scales) const {
    const bool nearest = device_.scale_rule == ScaleRule::kNearest;
    const float wanted = exceeded_by(rows, nearest ? 0.0 : device_.clip_share);
    if (device_.scale_rule == ScaleRule::kExact) {
      if (wanted > 0.0F) return wanted;
      float smallest = 0.0F;
      for (const float scale : rows) {
        if (scale > 0.0F && (smallest == 0.0F || scale < smallest)) smallest = scale;
      }
      return smallest == 0.0F ? 1.0F : smallest;
    }
    std::optional<float> best;
    for (const float scale : grid(scales)) {
      if (nearest) {
        if (!best || std::fabs(double{scale} - wanted) < std::fabs(double{*best} - wanted)) {
          best = scale;
        }
      } else if (scale >= wanted && !best) {
        best = scale;
      }
    }
    return best;
  }

  Head prepare(int64_t kv) const {
    Head head;
    const std::vector<float> zeros(static_cast<size_t>(call_.key.dim), 0.0F);
    const std::vector<float> mean = device_.center_keys ? mean_of(kv) : zeros;
    const int64_t group = call_.query.heads / call_.key.heads;
    std::vector<float> query_scales;
    std::vector<float> key_scales;
    for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      for (int64_t i = 0; i < call_.query.rows; ++i) {
        query_scales.push_back(row_scale(call_.query, h, i, zeros));
      }
    }
    for (int64_t j = begin_; j < end_; ++j) key_scales.push_back(row_scale(call_.key, kv, j, mean));
    const auto finite = [](float scale) { return std::isfinite(scale); };
    if (!std::ranges::all_of(query_scales, finite) || !std::ranges::all_of(key_scales, finite)) {
      return head;
    }
    const auto key_scale = choose(key_scales, device_.key_scales);
    const auto query_scale =
        device_.row_scales ? std::optional(0.0F) : choose(query_scales, device_.query_scales);
    if (!key_scale || !query_scale) return head;
    head.usable = true;
    head.key_scale = *key_scale;
    for (int64_t j = begin_; j < end_; ++j) {
      head.keys.push_back(quantise(call_.key, kv, j, mean, *key_scale));
    }
    for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      std::vector<QuantizedRow> rows;
      for (int64_t i = 0; i < call_.query.rows; ++i) {
        rows.push_back(device_.row_scales ? reference_quantize(call_.query, h, i)
                                          : quantise(call_.query, h, i, zeros, *query_scale));
      }
      head.queries.push_back(std::move(rows));
    }
    head.requantisation = choose_multiplier(head, group);
    return head;
  }

  static int64_t dot(const QuantizedRow& a, const QuantizedRow& b) {
    int64_t sum = 0;
    for (size_t d = 0; d < a.q.size(); ++d) sum += int64_t{a.q[d]} * b.q[d];
    return sum;
  }

  /// From 32 rows and 16 blocks of 16 keys, evenly spread; of the grid 2^(-k/2), the first that
  /// lets at most saturated_share of the sums exceed 127.
  Requantisation choose_multiplier(const Head& head, int64_t group) const {
    const int64_t all_rows = group * call_.query.rows;
    const auto keys = std::ssize(head.keys);
    const int64_t rows = std::min<int64_t>(32, all_rows);
    const int64_t whole = std::max<int64_t>(keys / 16, 1);
    const int64_t blocks = std::min<int64_t>(16, whole);
    std::vector<int64_t> sums;
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t at = all_rows * i / rows;
      const QuantizedRow& query =
          head.queries[static_cast<size_t>(at % group)][static_cast<size_t>(at / group)];
      for (int64_t b = 0; b < blocks; ++b) {
        for (int64_t j = whole * b / blocks * 16; j < whole * b / blocks * 16 + 16; ++j) {
          const int64_t sum = j < keys ? dot(query, head.keys[static_cast<size_t>(j)]) : 0;
          sums.push_back(std::abs(std::lrint(static_cast<double>(sum) / 256.0)));
        }
      }
    }
    const auto largest = 256.0 * static_cast<double>(exceeded_by(sums, device_.saturated_share));
    for (int step = 0; step < 46; ++step) {
      const Requantisation r = requantisation_below(std::exp2(-step / 2.0));
      if (largest * r.multiplier() <= 127.0) return r;
    }
    return requantisation_below(std::exp2(-23.0));
  }

  const QuantizedRow& query(const HeadRow& at) const {
    const auto group = static_cast<size_t>(call_.query.heads / call_.key.heads);
    return heads_[kv_of(at)]
        .queries[static_cast<size_t>(at.head) % group][static_cast<size_t>(at.row)];
  }

  int score(const HeadRow& at, int64_t key) const {
    const Head& head = heads_[kv_of(at)];
    return reference_requantised(dot(query(at), head.keys[static_cast<size_t>(key - begin_)]),
                                 head.requantisation.mantissa, head.requantisation.shift);
  }

  double log2_per_unit(const HeadRow& at) const {
    const Head& head = heads_[kv_of(at)];
    const double unit = static_cast<double>(head.key_scale) * call_.scale * 1.4426950408889634 /
                        head.requantisation.multiplier();
    return query(at).scale * unit;
  }

  DeviceOptions device_;
  std::vector<Head> heads_;
};

}  // namespace shadowattn::test
