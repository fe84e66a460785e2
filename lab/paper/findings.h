// What an experiment of the paper found, and what the report says of it. No llama.cpp here.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "eval/page.h"

namespace shadowattn::tool::paper {

using Json = nlohmann::ordered_json;

/// What a part found, and when.
struct Finding {
  Json values;
  std::string started;  ///< UTC, ISO 8601
  double seconds = 0;   ///< that it took
};

/// The findings of one experiment by the id of the part, in the order of the parts; those that
/// could not be measured are missing.
using Findings = std::vector<std::pair<std::string, Finding>>;

/// The values of a part, or null.
const Json* find_part(const Findings& findings, const std::string& id);

/// The object in the array values[array] whose `key` is `name`; null when there is none, or no
/// values.
const Json* find_entry(const Json* values, const char* array, const char* key,
                       const std::string& name);

/// A line of the table that the report begins with.
struct Claim {
  std::string what;       ///< "Recall at 20 %, mean over heads"
  std::string published;  ///< "99.03 % (Qwen2-0.5B)"
  std::string source;     ///< "Table 4"
  std::string measured;   ///< "98.7 %"
  std::string remark;     ///< why they differ, or "unexplained"; empty: they do not
};

struct Chapter {
  std::vector<Claim> claims;
  std::vector<eval::Section> sections;  ///< of depth 1
};

}  // namespace shadowattn::tool::paper
