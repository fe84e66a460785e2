// What the reports of all tasks share.
#pragma once

#include <string>

#include "eval/report.h"

namespace shadowattn::tool::eval {

/// Title and facts of a page.
Page start_page(const std::string& title, const EvalFacts& facts);

/// The keys that every JSON starts with.
nlohmann::ordered_json start_json(const EvalFacts& facts);

/// "0.0123"; "1.2e-05" for what would be all noughts; "-" for what is not finite.
std::string small_number(double value);

/// "98.53 %"
std::string fine_percent(double share);

}  // namespace shadowattn::tool::eval
