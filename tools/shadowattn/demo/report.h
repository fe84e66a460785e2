// The demo's tables.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "demo/reading.h"

namespace shadowattn::tool {

std::string demo_text(const DemoResult& result);
nlohmann::json demo_json(const DemoResult& result);

}  // namespace shadowattn::tool
