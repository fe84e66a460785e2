#include "device_sums.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace shadowattn::plugin {
namespace {

/// A counter of DeviceReport and its name in reports.
struct Counter {
  const char* name;
  int64_t DeviceReport::*field;
};

constexpr Counter kCounts[] = {
    {"launches", &DeviceReport::launches},
    {"rows", &DeviceReport::rows},
    {"cpu_rows", &DeviceReport::cpu_rows},
    {"out_of_grid_heads", &DeviceReport::out_of_grid_heads},
    {"refused_tiles", &DeviceReport::refused_tiles},
    {"key_elements", &DeviceReport::key_elements},
    {"clipped_keys", &DeviceReport::clipped_keys},
    {"query_elements", &DeviceReport::query_elements},
    {"clipped_queries", &DeviceReport::clipped_queries},
    {"sampled_scores", &DeviceReport::sampled_scores},
    {"saturated_scores", &DeviceReport::saturated_scores},
    {"sampled_kept", &DeviceReport::sampled_kept},
    {"tied_kept", &DeviceReport::tied_kept},
    {"checked_scores", &DeviceReport::checked_scores},
    {"invalid_scores", &DeviceReport::invalid_scores},
    {"compiled_graphs", &DeviceReport::compiled_graphs},
    {"released_graphs", &DeviceReport::released_graphs},
    {"late_launches", &DeviceReport::late_launches},
};

/// In nanoseconds; reported in milliseconds.
constexpr Counter kTimes[] = {
    {"busy_ms", &DeviceReport::busy_ns},
    {"wait_ms", &DeviceReport::wait_ns},
    {"prepare_ms", &DeviceReport::prepare_ns},
    {"plan_ms", &DeviceReport::plan_ns},
    {"span_ms", &DeviceReport::span_ns},
    {"simulation_cpu_ms", &DeviceReport::simulation_cpu_ns},
};

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

bool asked(const DeviceReport& call) {
  const auto counted = [&call](const Counter& counter) { return call.*counter.field != 0; };
  return !call.note.empty() || std::any_of(std::begin(kCounts), std::end(kCounts), counted) ||
         std::any_of(std::begin(kTimes), std::end(kTimes), counted);
}

}  // namespace

void DeviceSums::add_counters(const DeviceReport& more) {
  for (const Counter& counter : kCounts) sum_.*counter.field += more.*counter.field;
  for (const Counter& counter : kTimes) sum_.*counter.field += more.*counter.field;
}

void DeviceSums::add(const DeviceReport& call) {
  used_ = used_ || asked(call);
  add_counters(call);
  if (!call.note.empty()) ++notes_[call.note];
}

void DeviceSums::add(const DeviceSums& other) {
  used_ = used_ || other.used_;
  add_counters(other.sum_);
  for (const auto& [note, calls] : other.notes_) notes_[note] += calls;
}

nlohmann::ordered_json DeviceSums::to_json() const {
  nlohmann::ordered_json json;
  json["notes"] = nlohmann::ordered_json::object();
  for (const auto& [note, calls] : notes_) json["notes"][note] = calls;
  for (const Counter& counter : kCounts) json[counter.name] = sum_.*counter.field;
  for (const Counter& counter : kTimes) {
    json[counter.name] = static_cast<double>(sum_.*counter.field) / 1e6;
  }
  json["clipped_share"] =
      share(sum_.clipped_keys + sum_.clipped_queries, sum_.key_elements + sum_.query_elements);
  json["saturated_share"] = share(sum_.saturated_scores, sum_.sampled_scores);
  json["tied_share"] = share(sum_.tied_kept, sum_.sampled_kept);
  json["idle_share"] =
      sum_.span_ns == 0 ? 0.0 : std::max(0.0, 1 - share(sum_.busy_ns, sum_.span_ns));
  return json;
}

}  // namespace shadowattn::plugin
