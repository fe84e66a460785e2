// When each stage of a call ran, and where: for timelines.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace shadowattn {

enum class TraceStage {
  kPrepare,  ///< reading the mask, quantising keys and queries
  kDevice,   ///< the device estimates; lane kTraceDeviceLane
  kWait,     ///< a CPU thread waits for the device
  kPilot,    ///< the CPU estimates
  kSelect,
  kAttend,
};

/// "prepare", "device", …
const char* name_of(TraceStage stage);

inline constexpr int32_t kTraceDeviceLane = -1;

/// Times are steady_clock, as nanoseconds since its epoch.
struct TraceEvent {
  TraceStage stage = TraceStage::kAttend;
  int32_t lane = 0;  ///< thread of the executor, or kTraceDeviceLane
  int32_t kv_head = -1;
  int64_t first_row = 0;  ///< of the query rows concerned
  int64_t rows = 0;
  int64_t start_ns = 0;
  int64_t end_ns = 0;
};

/// Collects events. Safe to use from several threads.
class Trace {
 public:
  /// Dropped when there is no memory for it.
  void add(const TraceEvent& event) {
    const std::lock_guard lock(mutex_);
    try {
      events_.push_back(event);
    } catch (...) {
    }
  }
  /// The events so far, which are then forgotten.
  std::vector<TraceEvent> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<TraceEvent> events_;
};

/// Adds `event` with the time from its construction to its end, for `lanes` lanes from the event's
/// on: what all threads do together. `trace` may be null.
class TraceSpan {
 public:
  TraceSpan(Trace* trace, const TraceEvent& event, int lanes = 1)
      : trace_(trace), event_(event), lanes_(lanes) {
    if (trace_ != nullptr) event_.start_ns = now_ns();
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;
  ~TraceSpan() {
    if (trace_ == nullptr) return;
    event_.end_ns = now_ns();
    for (int lane = 0; lane < lanes_; ++lane, ++event_.lane) trace_->add(event_);
  }

 private:
  static int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

  Trace* trace_;
  TraceEvent event_;
  int lanes_;
};

}  // namespace shadowattn
