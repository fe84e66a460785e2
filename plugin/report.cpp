#include "report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "version.h"

namespace shadowattn::plugin {
namespace {

using Json = nlohmann::ordered_json;

double to_ms(int64_t ns) { return static_cast<double>(ns) / 1e6; }

/// Numbers as numbers, yes and no as booleans, names as strings: as the key's default looks, for a
/// file may be called "7".
Json typed_value(const std::string& value, const std::string& default_value) {
  if (default_value == "yes" || default_value == "no") return value == "yes";
  if (Json::parse(default_value, nullptr, false).is_number()) {
    return Json::parse(value, nullptr, false);
  }
  return value;
}

Json config_json(const Config& config) {
  const std::vector<ConfigValue> values = config_values(config);
  const std::vector<ConfigValue> defaults = config_values({});
  Json json;
  for (size_t i = 0; i < values.size(); ++i) {
    json[values[i].key] = typed_value(values[i].value, defaults[i].value);
  }
  return json;
}

void append_sums(const CallSums& sums, Json& json) {
  const double share = sums.visible_pairs == 0 ? 0.0
                                               : static_cast<double>(sums.kept_pairs) /
                                                     static_cast<double>(sums.visible_pairs);
  json["calls"] = sums.calls;
  json["rows"] = sums.rows;
  json["visible_pairs"] = sums.visible_pairs;
  json["kept_pairs"] = sums.kept_pairs;
  json["kept_share"] = share;
  json["lists"] = sums.lists;
  json["dense_calls"] = sums.dense_calls;
  json["dense_reasons"] = Json::object();
  for (const auto& [reason, count] : sums.dense_reasons) json["dense_reasons"][reason] = count;
  json["dense_rows"] = sums.dense_rows;
  json["unpromised_rows"] = sums.unpromised_rows;
  json["lost_estimated"] = sums.estimated_rows == 0
                               ? 0.0
                               : sums.estimated_lost / static_cast<double>(sums.estimated_rows);
  if (sums.error_rows > 0) {
    json["output_error_predicted"] =
        std::sqrt(sums.predicted_error2 / static_cast<double>(sums.error_rows));
  }
  if (sums.quality.all().rows > 0) json["quality"] = sums.quality.to_json();
  json["sample_ms"] = to_ms(sums.sample_ns);
  json["pilot_ms"] = to_ms(sums.pilot_ns);
  json["select_ms"] = to_ms(sums.select_ns);
  json["attend_ms"] = to_ms(sums.attend_ns);
  json["wall_ms"] = to_ms(sums.wall_ns);
  json["cpu_ms"] = to_ms(sums.cpu_ns);
  json["scratch_bytes"] = sums.scratch_bytes;
  if (sums.device.used()) json["device"] = sums.device.to_json();
}

}  // namespace

void CallSums::add(const CallReport& call, std::string_view dense_reason) {
  ++calls;
  rows += call.rows;
  visible_pairs += call.visible_pairs;
  kept_pairs += call.kept_pairs;
  lists += call.lists;
  if (!dense_reason.empty()) {
    ++dense_calls;
    ++dense_reasons[std::string(dense_reason)];
  }
  dense_rows += call.dense_rows;
  unpromised_rows += call.unpromised_rows;
  estimated_lost += call.estimated_lost;
  estimated_rows += call.estimated_rows;
  if (call.predicted_error > 0.0) {
    const int64_t all_rows = call.rows * call.heads;
    predicted_error2 += call.predicted_error * call.predicted_error * static_cast<double>(all_rows);
    error_rows += all_rows;
  }
  quality.add(call.samples);
  sample_ns += call.sample_ns;
  pilot_ns += call.pilot_ns;
  select_ns += call.select_ns;
  attend_ns += call.attend_ns;
  wall_ns += call.wall_ns;
  scratch_bytes = std::max(scratch_bytes, call.scratch_bytes);
  device.add(call.device);
}

void CallSums::add(const CallSums& other) {
  calls += other.calls;
  rows += other.rows;
  visible_pairs += other.visible_pairs;
  kept_pairs += other.kept_pairs;
  lists += other.lists;
  dense_calls += other.dense_calls;
  for (const auto& [reason, count] : other.dense_reasons) dense_reasons[reason] += count;
  dense_rows += other.dense_rows;
  unpromised_rows += other.unpromised_rows;
  estimated_lost += other.estimated_lost;
  estimated_rows += other.estimated_rows;
  predicted_error2 += other.predicted_error2;
  error_rows += other.error_rows;
  quality.add(other.quality);
  sample_ns += other.sample_ns;
  pilot_ns += other.pilot_ns;
  select_ns += other.select_ns;
  attend_ns += other.attend_ns;
  wall_ns += other.wall_ns;
  cpu_ns += other.cpu_ns;
  scratch_bytes = std::max(scratch_bytes, other.scratch_bytes);
  device.add(other.device);
}

void Report::set_threads(int threads) {
  const std::lock_guard lock(mutex_);
  threads_ = threads;
}

void Report::add_call(int32_t context, int layer, const CallReport& call, std::string_view failure,
                      int64_t cpu_ns) {
  std::string_view reason = failure;
  if (reason.empty() && call.dense_reason != DenseReason::kNone) {
    reason = describe(call.dense_reason);
  }
  const std::lock_guard lock(mutex_);
  CallSums& sums = contexts_[context][layer];
  sums.add(call, reason);
  sums.cpu_ns += cpu_ns;
}

void Report::add_decline(int layer, const std::string& reason) {
  const std::lock_guard lock(mutex_);
  Decline& decline = declined_[reason];
  ++decline.count;
  if (layer >= 0) decline.layers.insert(layer);
}

std::map<int, CallSums> Report::layers() const {
  std::map<int, CallSums> all;
  for (const auto& [number, of_context] : contexts_) {
    for (const auto& [layer, sums] : of_context) all[layer].add(sums);
  }
  return all;
}

void Report::reset() {
  const std::lock_guard lock(mutex_);
  contexts_.clear();
  declined_.clear();
}

std::string Report::quality_line(const Config& config) const {
  const std::lock_guard lock(mutex_);
  CallSums totals;
  int worst_layer = -1;
  double worst = -1.0;
  const bool by_error = config.engine.output_error > 0.0;
  const auto cost = [by_error](const SampleSums& sums) {
    return by_error ? sums.output_error() : sums.mean_lost();
  };
  for (const auto& [number, sums] : layers()) {
    totals.add(sums);
    if (sums.quality.all().rows == 0 || cost(sums.quality.all()) <= worst) continue;
    worst = cost(sums.quality.all());
    worst_layer = number;
  }
  const SampleSums& all = totals.quality.all();
  if (all.rows == 0) return {};
  const double kept = static_cast<double>(totals.kept_pairs) /
                      static_cast<double>(std::max<int64_t>(totals.visible_pairs, 1));
  const double aim = by_error ? config.engine.output_error : config.engine.attn_error;
  char text[256];
  std::snprintf(text, sizeof text,
                "kept %.1f %% of the tokens; %s %.2f %% (layer %d: %.2f %%) in "
                "%lld sampled sparse rows",
                100.0 * kept, by_error ? "error of a layer's output" : "lost attention mass",
                100.0 * cost(all), worst_layer, 100.0 * worst, static_cast<long long>(all.rows));
  std::string line = text;
  if (aim > 0.0) {
    std::snprintf(text, sizeof text, ", aim %g %%", 100.0 * aim);
    line += text;
  }
  return line;
}

std::string Report::to_json(const Config& config, std::string_view isa) const {
  const std::lock_guard lock(mutex_);
  Json json = {{"shadowattn", kVersion},
               {"config", config_json(config)},
               {"isa", isa},
               {"threads", threads_}};
  CallSums totals;
  Json layers = Json::array();
  const std::map<int, CallSums> all = this->layers();
  for (const auto& [number, sums] : all) {
    totals.add(sums);
    Json layer = {{"layer", number}};
    append_sums(sums, layer);
    layers.push_back(std::move(layer));
  }
  json["totals"] = Json::object();
  append_sums(totals, json["totals"]);
  json["layers"] = std::move(layers);
  if (contexts_.size() > 1) {
    json["contexts"] = Json::array();
    for (const auto& [number, of_context] : contexts_) {
      CallSums sums;
      for (const auto& [layer, of_layer] : of_context) sums.add(of_layer);
      Json context = {{"context", number}};
      append_sums(sums, context);
      json["contexts"].push_back(std::move(context));
    }
  }
  json["declined"] = Json::array();
  for (const auto& [reason, decline] : declined_) {
    json["declined"].push_back(
        {{"reason", reason}, {"count", decline.count}, {"layers", decline.layers}});
  }
  if (config.enabled && all.empty() && declined_.empty()) {
    json["note"] =
        "the host asked for no FLASH_ATTN_EXT node: its flash attention is off (see -fa), or its "
        "attention runs on another device";
  }
  // Paths and messages may hold any bytes; JSON must be UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace shadowattn::plugin
