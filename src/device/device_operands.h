// The INT8 operands of a device: scales, buckets, quantising.
#pragma once

#include <cstdint>

#include "device/scale_grid.h"
#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/quantize/quantize.h"
#include "kernels/scratch.h"
#include "plan/list_rows.h"
#include "shadowattn/attention.h"
#include "shadowattn/device.h"

namespace shadowattn {

/// Why a KV head of a call can or cannot be estimated by a device.
enum class HeadUse {
  kDevice,
  kNonFinite,  ///< NaN or infinity in its queries or keys
  kLeftToCpu,  ///< needs no estimate
  kOutOfGrid,  ///< no scale of the grid holds its queries or keys
};

/// How a KV head of a call is quantised.
struct HeadBucket {
  HeadUse use = HeadUse::kOutOfGrid;
  float query_scale = 0.0F;  ///< 0: a scale per row
  float key_scale = 0.0F;
  Requantisation requantisation;
  int64_t clipped_keys = 0;  ///< elements
  double query_norm2 = 0.0;  ///< largest ‖q‖² of the group's query rows
  double key_norm2 = 0.0;    ///< largest ‖k‖² of the quantised keys
};

/// The scales to choose from, from a device's options.
struct ScaleChoices {
  ScaleGrid query;
  ScaleGrid key;

  static ScaleChoices from(const DeviceOptions& options);
};

/// One object per thread, reused.
class DeviceOperands {
 public:
  /// Grows the scratch so that nothing below allocates. Throws std::bad_alloc.
  void reserve(const AttentionCall& call, const PilotDotKernel& pilot);

  /// Chooses the bucket of a KV head, whose keys [range.begin, range.end) it writes to `keys`:
  /// [padded_keys][dim] INT8, zero beyond the last. Without a bucket `keys` holds nothing useful.
  HeadBucket prepare_keys(const AttentionCall& call, const DeviceOptions& options,
                          const ScaleChoices& choices, int64_t kv_head, KeyRange range,
                          int64_t padded_keys, const QuantizeKernel& quantize,
                          const PilotDotKernel& pilot, int8_t* keys);

  /// Writes the queries of a tile for a KV head: [padded_rows][dim] INT8, zero beyond the last, and
  /// the scale of each row to `scale`: row (r - rows.first) · group heads + h. Returns the number
  /// of elements clipped.
  static int64_t write_queries(const AttentionCall& call, const HeadBucket& bucket, int64_t kv_head,
                               RowRange rows, int64_t padded_rows, const QuantizeKernel& quantize,
                               int8_t* queries, float* scale);

  int64_t scratch_bytes() const;

 private:
  /// One query row of the group: row · group heads + head. Returns the elements clipped.
  static int64_t quantize_query(const AttentionCall& call, const HeadBucket& bucket,
                                int64_t kv_head, int64_t group_row, const QuantizeKernel& quantize,
                                int8_t* q, float* scale);
  const float* mean_of(const AttentionCall& call, int64_t kv_head, KeyRange range,
                       const QuantizeKernel& quantize);
  /// False when they are not finite or, with `bucket` unchanged, out of the grid.
  bool choose_scales(const AttentionCall& call, const DeviceOptions& options,
                     const ScaleChoices& choices, int64_t kv_head, KeyRange range,
                     const float* mean, const QuantizeKernel& quantize, HeadBucket* bucket);
  Requantisation choose_multiplier(const AttentionCall& call, const DeviceOptions& options,
                                   const HeadBucket& bucket, int64_t kv_head, int64_t key_count,
                                   const QuantizeKernel& quantize, const PilotDotKernel& pilot,
                                   const int8_t* keys);

  ScratchBuffer<float> row_scale_;  // of all keys, or of all query rows of a group
  ScratchBuffer<float> mean_;       // [dim] sums, then [dim] the mean
  ScratchBuffer<double> total_;     // [dim]
  ScratchBuffer<int8_t> sample_;    // INT8 rows of the sample
  ScratchBuffer<std::byte> packed_queries_;
  ScratchBuffer<std::byte> packed_keys_;
  ScratchBuffer<int16_t> sums_;
  ScratchBuffer<float> factor_;  // of the sample's keys, then of its rows
};

}  // namespace shadowattn
