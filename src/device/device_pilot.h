// The door to devices: the part of a call whose estimate one computes. Behind it: buckets, launch
// groups, order, pipeline; what comes through it was checked.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "device/launch_queue.h"

namespace shadowattn {

/// A tile of one KV head whose estimate is there.
struct EstimatedTile {
  const QueryTile& tile;
  int64_t kv_head = 0;
  const DeviceScores* scores = nullptr;  ///< null: its lists keep everything, nothing was estimated
};

/// What a tile took on the CPU.
struct TileCost {
  int64_t kept_pairs = 0;
  int64_t select_ns = 0;
  int64_t attend_ns = 0;
};

/// Selects and attends, on a thread of the executor.
using AttendTile = std::function<TileCost(const EstimatedTile& tile, int thread)>;

/// One per engine. Starts its device when first needed; gives it up for good when it fails.
class DevicePilot {
 public:
  /// `device` may be null: then the one that the options name is started.
  DevicePilot(const DeviceOptions& options, std::unique_ptr<Device> device);

  /// Estimates what the device can of a shadow call, calls `attend` for it and marks it in `done`:
  /// [CallPlan::tiles · KV heads], tile after tile. What is not marked is as yet undone, whatever
  /// is in the output. Fills `report`. Throws std::bad_alloc, before any work was given away.
  void run(const CallContext& context, Executor& executor, const AttendTile& attend,
           std::vector<uint8_t>& done, DeviceReport* report);

  /// What the last call took, and what dense attention is predicted to take: a device that makes
  /// calls slower than that is given up.
  void judge(int64_t wall_ns, double dense_ns, DeviceReport* report);

  int64_t scratch_bytes() const;

 private:
  bool start();
  /// How the call is cut for the device; nullopt, with a note, when it cannot be.
  std::optional<DeviceShape> shape_call(const CallContext& context, DeviceReport* report) const;
  /// Sizes launches and buffers for groups of shape->most_rows; false: the device is too small.
  bool lay_out(const AttentionCall& call, DeviceShape* shape) const;
  /// The scales that the call's layer may have: those of its profile, where it has one and the
  /// options name none.
  ScaleChoices choices_for(const CallContext& context) const;
  std::vector<HeadBucket> prepare(const CallContext& context, const DeviceShape& shape,
                                  int64_t first_head, int64_t heads, Executor& executor,
                                  DeviceReport* report);
  std::vector<int32_t> order_groups(const CallContext& context, const DeviceShape& shape,
                                    const std::vector<LaunchGroup>& groups, int cpu_threads,
                                    DeviceReport* report) const;
  void run_groups(const CallContext& context, const DeviceLayout& layout,
                  const std::vector<HeadBucket>& buckets, const std::vector<LaunchGroup>& groups,
                  const std::vector<int32_t>& order, Executor& executor, const AttendTile& attend,
                  std::vector<uint8_t>& done, DeviceReport* report);
  void lose(const Status& status, DeviceReport* report);

  DeviceOptions options_;
  ScaleChoices choices_;
  std::unique_ptr<Device> device_;
  std::optional<ShapeBuckets> shapes_;
  std::optional<GraphBank> bank_;
  StageTimes times_;
  std::vector<DeviceOperands> operands_;  ///< one per thread
  std::string lost_;                      ///< why the device is not used any more
  uint64_t calls_ = 0;
  int slow_calls_ = 0;  ///< in a row
};

}  // namespace shadowattn
