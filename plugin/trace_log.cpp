#include "trace_log.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <limits>
#include <set>
#include <utility>

namespace shadowattn::plugin {
namespace {

// Threads of the timeline.
constexpr int32_t kCallsThread = 0;
constexpr int32_t kDeviceThread = 1;
constexpr int32_t kFirstCpuThread = 2;

int32_t thread_of(const TraceEvent& event) {
  return event.lane == kTraceDeviceLane ? kDeviceThread : kFirstCpuThread + event.lane;
}

/// Nanoseconds as microseconds, exactly.
struct Micros {
  explicit Micros(int64_t ns) {
    std::snprintf(text, sizeof(text), "%lld.%03d", static_cast<long long>(ns / 1000),
                  static_cast<int>(ns % 1000));
  }
  char text[32];
};

/// Events one after another; a document of nlohmann::json would take ten times the memory.
class EventList {
 public:
  void add(const char* format, ...) __attribute__((format(printf, 2, 3))) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    const int length = std::vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (!text_.empty()) text_ += ",\n";
    text_.append(line,
                 std::min<size_t>(static_cast<size_t>(std::max(length, 0)), sizeof(line) - 1));
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void add_call(const TracedCall& call, int64_t number, int64_t first_ns, EventList& list) {
  const auto common = static_cast<long long>(number);
  list.add(R"({"name":"layer %d","cat":"call","ph":"X","ts":%s,"dur":%s,"pid":%d,"tid":%d,)"
           R"("args":{"call":%lld,"layer":%d,"rows":%lld,"keys":%lld}})",
           call.layer, Micros(call.start_ns - first_ns).text,
           Micros(call.end_ns - call.start_ns).text, call.context, kCallsThread, common, call.layer,
           static_cast<long long>(call.rows), static_cast<long long>(call.keys));
  for (const TraceEvent& event : call.events) {
    list.add(R"({"name":"%s","cat":"stage","ph":"X","ts":%s,"dur":%s,"pid":%d,"tid":%d,)"
             R"("args":{"call":%lld,"layer":%d,"kv_head":%d,"first_row":%lld,"rows":%lld}})",
             name_of(event.stage), Micros(event.start_ns - first_ns).text,
             Micros(std::max<int64_t>(event.end_ns - event.start_ns, 0)).text, call.context,
             thread_of(event), common, call.layer, event.kv_head,
             static_cast<long long>(event.first_row), static_cast<long long>(event.rows));
  }
}

void add_name(const char* what, int32_t process, int32_t thread, const std::string& name,
              EventList& list) {
  list.add(R"({"name":"%s","ph":"M","pid":%d,"tid":%d,"args":{"name":"%s"}})", what, process,
           thread, name.c_str());
  if (std::string_view(what) != "thread_name") return;
  list.add(R"({"name":"thread_sort_index","ph":"M","pid":%d,"tid":%d,"args":{"sort_index":%d}})",
           process, thread, thread);
}

std::string thread_name(int32_t thread, const std::string& device) {
  if (thread == kCallsThread) return "attention calls";
  if (thread == kDeviceThread) return "device " + device;
  return "CPU " + std::to_string(thread - kFirstCpuThread);
}

}  // namespace

void TraceLog::add(TracedCall call) {
  const auto count = static_cast<int64_t>(call.events.size()) + 1;
  const std::lock_guard lock(mutex_);
  if (dropped_ == 0 && events_ + count <= most_events_) {
    try {
      calls_.push_back(std::move(call));
      events_ += count;
      return;
    } catch (...) {
    }
  }
  ++dropped_;
}

std::string TraceLog::json_of(const std::vector<TracedCall>& calls, int64_t dropped) const {
  int64_t first = std::numeric_limits<int64_t>::max();
  std::set<std::pair<int32_t, int32_t>> threads;  // of which process
  for (const TracedCall& call : calls) {
    first = std::min(first, call.start_ns);
    threads.insert({call.context, kCallsThread});
    for (const TraceEvent& event : call.events) {
      first = std::min(first, event.start_ns);
      threads.insert({call.context, thread_of(event)});
    }
  }
  EventList list;
  int32_t named = std::numeric_limits<int32_t>::min();
  for (const auto& [process, thread] : threads) {
    if (process != named) {
      add_name("process_name", process, 0, "llama_context " + std::to_string(process), list);
    }
    named = process;
    add_name("thread_name", process, thread, thread_name(thread, device_), list);
  }
  int64_t number = 0;
  for (const TracedCall& call : calls) add_call(call, number++, first, list);
  std::string note;
  if (dropped > 0) {
    note = std::to_string(dropped) + " later calls are missing: a timeline holds " +
           std::to_string(most_events_) + " events at most";
  }
  return "{\"displayTimeUnit\":\"ms\",\n\"otherData\":{\"device\":\"" + device_ + "\",\"note\":\"" +
         note + "\"},\n\"traceEvents\":[\n" + list.text() + "\n]}\n";
}

std::string TraceLog::to_json() const {
  const std::lock_guard lock(mutex_);
  return json_of(calls_, dropped_);
}

std::string TraceLog::take_json() {
  const std::lock_guard lock(mutex_);
  std::string text = json_of(calls_, dropped_);
  calls_.clear();
  events_ = dropped_ = 0;
  return text;
}

}  // namespace shadowattn::plugin
