// Time of the stages of a tile.
#pragma once

#include <chrono>
#include <cstdint>

#include "plan/list_plan.h"
#include "shadowattn/trace.h"

namespace shadowattn {

/// Adds the time since the last lap to a counter, and to the trace.
class Stopwatch {
 public:
  Stopwatch(Trace* trace, int32_t lane, int64_t kv_head, RowRange rows) : trace_(trace) {
    event_.lane = lane;
    event_.kv_head = static_cast<int32_t>(kv_head);
    event_.first_row = rows.first;
    event_.rows = rows.count;
  }

  void lap(TraceStage stage, int64_t* counter) {
    const auto now = std::chrono::steady_clock::now();
    *counter += nanoseconds(now - last_);
    if (trace_ != nullptr) {
      event_.stage = stage;
      event_.start_ns = nanoseconds(last_.time_since_epoch());
      event_.end_ns = nanoseconds(now.time_since_epoch());
      trace_->add(event_);
    }
    last_ = now;
  }

 private:
  static int64_t nanoseconds(std::chrono::steady_clock::duration time) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
  }

  Trace* trace_;
  TraceEvent event_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace shadowattn
