// A timeline of attention calls, for Perfetto (ui.perfetto.dev) and chrome://tracing.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "shadowattn/trace.h"

namespace shadowattn::plugin {

/// One attention call. Times as in TraceEvent.
struct TracedCall {
  int32_t context = 0;  ///< which llama_context: its number among those of the process
  int32_t layer = -1;   ///< -1: unknown
  int64_t rows = 0;     ///< query rows
  int64_t keys = 0;
  int64_t start_ns = 0;
  int64_t end_ns = 0;
  std::vector<TraceEvent> events;
};

/// Safe to use from several threads.
class TraceLog {
 public:
  static constexpr int64_t kMostEvents = 1 << 20;  ///< some 60 MB here, 150 MB as text

  /// `device`: name of what computes the estimate. After `most_events` further calls are only
  /// counted.
  explicit TraceLog(std::string device, int64_t most_events = kMostEvents)
      : device_(std::move(device)), most_events_(most_events) {}

  /// A call for which there is no room or no memory is counted as dropped.
  void add(TracedCall call);

  /// Everything so far as {"traceEvents": […]} in the Trace Event Format. Times are microseconds
  /// since the start of the first event; a process is a llama_context; its threads are the calls,
  /// the device and the CPU's threads (docs/plugin.md).
  std::string to_json() const;
  /// As to_json, and forgets it.
  std::string take_json();

 private:
  std::string json_of(const std::vector<TracedCall>& calls, int64_t dropped) const;

  const std::string device_;
  const int64_t most_events_;
  mutable std::mutex mutex_;
  std::vector<TracedCall> calls_;
  int64_t events_ = 0;
  int64_t dropped_ = 0;  ///< calls
};

}  // namespace shadowattn::plugin
