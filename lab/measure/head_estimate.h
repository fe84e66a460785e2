// The INT8 estimate of one KV head with the engine's own parts, row by row, for every way to choose
// its scales.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "device/device_operands.h"
#include "measure/scale_pairs.h"
#include "shadowattn/attention.h"
#include "shadowattn/device.h"

namespace shadowattn::tool::measure {

/// How queries and keys become an estimate.
struct EstimateConfig {
  std::string name;
  /// Not empty: the scales are one of these pairs, by options.scale_rule. Empty: what the engine
  /// chooses by `options`.
  std::vector<ScalePair> pairs;
  DeviceOptions options;
  bool exact_sums = false;      ///< INT32 sums instead of INT8 scores: a bound
  bool key_row_scales = false;  ///< a scale per key and exact sums, as on the CPU: a bound
};

/// The kernels and scratch of one thread.
class HeadEstimate {
 public:
  HeadEstimate();

  /// The scales that let at most options.clip_share of the rows clip.
  ScalePair measured(const AttentionCall& call, int64_t kv_head, KeyRange range,
                     DeviceOptions options);

  /// Quantises keys [range.begin, range.end) of a KV head. A head that no scale holds is estimated
  /// as the engine's CPU does it. Throws Failure when an operand is not finite.
  void prepare(const AttentionCall& call, int64_t kv_head, KeyRange range,
               const EstimateConfig& config);

  /// Of the row of each query head of the group, [group heads][keys of the range], larger is
  /// better. Valid until the next call.
  std::span<const float> estimate(int64_t row);

  // Of the head prepared, and of the rows estimated since.
  bool out_of_grid() const { return bucket_.use == HeadUse::kOutOfGrid; }
  Requantisation requantisation() const { return bucket_.requantisation; }
  int64_t elements() const { return elements_; }
  int64_t clipped() const { return clipped_; }

 private:
  DeviceOptions choose(const AttentionCall& call, int64_t kv_head, KeyRange range,
                       const EstimateConfig& config, bool* covered);
  void quantize_key_rows();
  void device_scores(int64_t rows);
  void exact_sums(int64_t rows);

  const QuantizeKernel& quantize_;
  const PilotDotKernel& pilot_;
  DeviceOperands operands_;

  AttentionCall call_;
  int64_t kv_head_ = 0;
  KeyRange range_;
  bool exact_sums_ = false;
  HeadBucket bucket_;
  int64_t elements_ = 0;
  int64_t clipped_ = 0;
  std::vector<int8_t> keys_;      // [keys][dim]
  std::vector<float> key_scale_;  // [keys]; empty: one for all
  std::vector<std::byte> packed_keys_;
  std::vector<int8_t> queries_;  // [group heads][dim]
  std::vector<float> query_scale_;
  std::vector<std::byte> packed_queries_;
  std::vector<int8_t> scores_;
  std::vector<float> estimate_;
};

}  // namespace shadowattn::tool::measure
