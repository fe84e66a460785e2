#include "trace/timeline_report.h"

#include <set>

#include "common/summary.h"
#include "common/text.h"

namespace shadowattn::tool {
namespace {

using nlohmann::json;

double milliseconds(int64_t ns) { return static_cast<double>(ns) / 1e6; }

std::string format_ms(int64_t ns) { return format_fixed(milliseconds(ns), 1); }

bool occurs(const TimelineSums& sums, size_t stage) {
  for (const UnitTimes& times : sums.units) {
    if (times.stage_ns[stage] > 0) return true;
  }
  return false;
}

std::set<int> layers_of(const Timeline& timeline) {
  std::set<int> layers;
  for (const TimelineCall& call : timeline.calls) layers.insert(call.layer);
  return layers;
}

/// "12.3 %", or "" when there was no such unit. CPU threads are taken together.
std::string idle_of(const TimelineSums& sums, bool device) {
  double idle = 0;
  int count = 0;
  for (const UnitTimes& times : sums.units) {
    if ((times.unit == kTraceDeviceLane) != device) continue;
    idle += times.idle_share;
    ++count;
  }
  return count == 0 ? "" : format_percent(idle / count);
}

json sums_json(const TimelineSums& sums, const std::string& device) {
  json units = json::array();
  for (const UnitTimes& times : sums.units) {
    json unit = {{"unit", unit_name(times.unit, device)},
                 {"busy_ms", milliseconds(times.busy_ns())},
                 {"idle_share", times.idle_share},
                 {"stages_ms", json::object()}};
    for (size_t i = 0; i < kStages.size(); ++i) {
      unit["stages_ms"][name_of(kStages[i])] = milliseconds(times.stage_ns[i]);
    }
    units.push_back(std::move(unit));
  }
  return {{"calls", sums.calls},
          {"dense_calls", sums.dense_calls},
          {"wall_ms", milliseconds(sums.wall_ns)},
          {"units", std::move(units)}};
}

}  // namespace

std::string timeline_table(const TimelineSums& sums, const std::string& device) {
  Table table;
  std::vector<std::string> head = {"ms", "busy", "idle"};
  for (size_t i = 0; i < kStages.size(); ++i) {
    if (occurs(sums, i)) head.emplace_back(name_of(kStages[i]));
  }
  table.add_row(head);
  for (const UnitTimes& times : sums.units) {
    std::vector<std::string> row = {unit_name(times.unit, device), format_ms(times.busy_ns()),
                                    format_percent(times.idle_share)};
    for (size_t i = 0; i < kStages.size(); ++i) {
      if (occurs(sums, i))
        row.push_back(times.stage_ns[i] > 0 ? format_ms(times.stage_ns[i]) : "-");
    }
    table.add_row(std::move(row));
  }
  table.align_right_from(1);
  return table.text();
}

std::string layer_table(const Timeline& timeline) {
  Table table;
  table.add_row({"layer", "sparse calls", "dense calls", "ms", "device idle", "CPU idle"});
  for (const int layer : layers_of(timeline)) {
    const TimelineSums sums = sum_up(timeline.calls, layer);
    table.add_row({std::to_string(layer), format_count(sums.calls), format_count(sums.dense_calls),
                   format_ms(sums.wall_ns), idle_of(sums, true), idle_of(sums, false)});
  }
  table.align_right_from(1);
  return table.text();
}

json timeline_json(const Timeline& timeline) {
  json all = sums_json(sum_up(timeline.calls), timeline.device);
  all["layers"] = json::array();
  for (const int layer : layers_of(timeline)) {
    json one = sums_json(sum_up(timeline.calls, layer), timeline.device);
    one["layer"] = layer;
    all["layers"].push_back(std::move(one));
  }
  return all;
}

}  // namespace shadowattn::tool
