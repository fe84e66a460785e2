#include "trace/timeline.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "common/failure.h"

namespace shadowattn::tool {
namespace {

using nlohmann::json;

constexpr std::string_view kDeviceName = "device ";
constexpr std::string_view kCpuName = "CPU ";

size_t index_of(TraceStage stage) {
  return static_cast<size_t>(std::find(kStages.begin(), kStages.end(), stage) - kStages.begin());
}

TraceStage stage_named(const std::string& name) {
  for (const TraceStage stage : kStages) {
    if (name == name_of(stage)) return stage;
  }
  throw Failure("the timeline has an unknown stage \"" + name + "\"");
}

std::optional<Unit> unit_named(const std::string& name) {
  if (name.starts_with(kDeviceName)) return kTraceDeviceLane;
  if (name.starts_with(kCpuName)) return std::stoi(name.substr(kCpuName.size()));
  return std::nullopt;
}

int64_t nanoseconds(const json& event, const char* key) {
  return std::llround(event.at(key).get<double>() * 1000);
}

using ThreadKey = std::pair<int, int>;  // process and thread

ThreadKey thread_of(const json& event) {
  return {event.at("pid").get<int>(), event.at("tid").get<int>()};
}

TimelineCall read_call(const json& event) {
  TimelineCall call;
  const json& args = event.at("args");
  call.layer = args.at("layer").get<int>();
  call.rows = args.at("rows").get<int64_t>();
  call.keys = args.at("keys").get<int64_t>();
  call.start_ns = nanoseconds(event, "ts");
  call.end_ns = call.start_ns + nanoseconds(event, "dur");
  return call;
}

Timeline read_timeline(const json& trace) {
  Timeline timeline;
  timeline.device = trace.at("otherData").at("device").get<std::string>();
  timeline.note = trace.at("otherData").at("note").get<std::string>();
  std::map<ThreadKey, Unit> units;
  for (const json& event : trace.at("traceEvents")) {
    if (event.at("name") == "thread_name") {
      const auto unit = unit_named(event.at("args").at("name").get<std::string>());
      if (unit) units[thread_of(event)] = *unit;
    } else if (event.value("cat", "") == "call") {  // numbered in this order
      timeline.calls.push_back(read_call(event));
    }
  }
  for (const json& event : trace.at("traceEvents")) {
    if (event.value("cat", "") != "stage") continue;
    TimelineEvent read;
    read.stage = stage_named(event.at("name").get<std::string>());
    read.unit = units.at(thread_of(event));
    read.start_ns = nanoseconds(event, "ts");
    read.end_ns = read.start_ns + nanoseconds(event, "dur");
    timeline.calls.at(event.at("args").at("call").get<size_t>()).events.push_back(read);
  }
  return timeline;
}

}  // namespace

bool TimelineCall::sparse() const {
  return std::any_of(events.begin(), events.end(), [](const TimelineEvent& event) {
    return event.stage == TraceStage::kDevice || event.stage == TraceStage::kPilot ||
           event.stage == TraceStage::kSelect;
  });
}

Timeline parse_timeline(const json& trace) {
  try {
    return read_timeline(trace);
  } catch (const json::exception& error) {
    throw Failure(std::string("the timeline cannot be read: ") + error.what());
  } catch (const std::logic_error&) {  // from at() and stoi
    throw Failure("the timeline cannot be read: an event belongs to no call or no thread");
  }
}

int64_t UnitTimes::busy_ns() const {
  int64_t sum = 0;
  for (size_t i = 0; i < kStages.size(); ++i) {
    if (kStages[i] != TraceStage::kWait) sum += stage_ns[i];
  }
  return sum;
}

TimelineSums sum_up(std::span<const TimelineCall> calls, int layer) {
  TimelineSums sums;
  std::map<Unit, UnitTimes> units;
  for (const TimelineCall& call : calls) {
    if (layer >= 0 && call.layer != layer) continue;
    if (!call.sparse()) {
      ++sums.dense_calls;
      continue;
    }
    ++sums.calls;
    sums.wall_ns += call.wall_ns();
    for (const TimelineEvent& event : call.events) {
      units[event.unit].stage_ns[index_of(event.stage)] += event.end_ns - event.start_ns;
    }
  }
  for (auto& [unit, times] : units) {
    times.unit = unit;
    const double busy = static_cast<double>(times.busy_ns());
    if (sums.wall_ns > 0) {
      times.idle_share = std::clamp(1 - busy / static_cast<double>(sums.wall_ns), 0.0, 1.0);
    }
    sums.units.push_back(times);
  }
  return sums;
}

const TimelineCall* last_full_call(const Timeline& timeline, int layer) {
  const TimelineCall* best = nullptr;
  for (const TimelineCall& call : timeline.calls) {
    if (call.layer != layer || !call.sparse()) continue;
    if (best == nullptr || call.rows >= best->rows) best = &call;
  }
  return best;
}

std::string unit_name(Unit unit, const std::string& device) {
  return unit == kTraceDeviceLane ? std::string(kDeviceName) + device
                                  : std::string(kCpuName) + std::to_string(unit);
}

}  // namespace shadowattn::tool
