// What `shadowattn trace` prints: tables for people, JSON for programs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "trace/timeline.h"

namespace shadowattn::tool {

/// One row per unit: busy, idle, and the stages that occur.
std::string timeline_table(const TimelineSums& sums, const std::string& device);

/// One row per layer: calls, time, and how idle the device and the CPU threads together were.
std::string layer_table(const Timeline& timeline);

/// Sums over all layers, with each layer's under "layers".
nlohmann::json timeline_json(const Timeline& timeline);

}  // namespace shadowattn::tool
