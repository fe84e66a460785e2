// The plug-in's timeline as data: who was busy with what, and for how long.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "shadowattn/trace.h"

namespace shadowattn::tool {

inline constexpr std::array kStages = {TraceStage::kPrepare, TraceStage::kDevice,
                                       TraceStage::kWait,    TraceStage::kPilot,
                                       TraceStage::kSelect,  TraceStage::kAttend};

/// The device (kTraceDeviceLane) or a CPU thread (its number).
using Unit = int32_t;

/// Times in nanoseconds since the start of the timeline.
struct TimelineEvent {
  TraceStage stage = TraceStage::kAttend;
  Unit unit = 0;
  int64_t start_ns = 0;
  int64_t end_ns = 0;
};

/// One attention call.
struct TimelineCall {
  int layer = -1;
  int64_t rows = 0;  ///< query rows
  int64_t keys = 0;
  int64_t start_ns = 0;
  int64_t end_ns = 0;
  std::vector<TimelineEvent> events;

  int64_t wall_ns() const { return end_ns - start_ns; }
  /// Something was estimated; otherwise the call was dense.
  bool sparse() const;
};

struct Timeline {
  std::string device;
  std::string note;  ///< what is missing; else empty
  std::vector<TimelineCall> calls;
};

/// Reads what the plug-in wrote (docs/plugin.md). Throws Failure when it is something else.
Timeline parse_timeline(const nlohmann::json& trace);

/// What one unit did during some calls.
struct UnitTimes {
  Unit unit = 0;
  std::array<int64_t, kStages.size()> stage_ns = {};  ///< in the order of kStages
  double idle_share = 0;                              ///< of the calls' duration

  /// All stages but waiting.
  int64_t busy_ns() const;
};

/// Sums over sparse calls.
struct TimelineSums {
  int64_t calls = 0;
  int64_t dense_calls = 0;  ///< that were left out
  int64_t wall_ns = 0;
  std::vector<UnitTimes> units;  ///< the device first; those that did something
};

/// `layer` -1: of all layers.
TimelineSums sum_up(std::span<const TimelineCall> calls, int layer = -1);

/// The call to draw: of the layer's sparse ones with the most rows the last. Null: there is none.
const TimelineCall* last_full_call(const Timeline& timeline, int layer);

/// "device npu-sim", "CPU 0".
std::string unit_name(Unit unit, const std::string& device);

}  // namespace shadowattn::tool
