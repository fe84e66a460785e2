// Tables and JSON of what estimates and lists retain.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mass_run.h"

namespace shadowattn::bench {

/// Mass, what is short of the oracle, and recall; a line per result.
std::string mass_markdown(const std::vector<MassResult>& results, const MassOptions& options);
nlohmann::ordered_json mass_json(const std::vector<MassResult>& results,
                                 const MassOptions& options);

}  // namespace shadowattn::bench
