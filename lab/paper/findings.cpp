#include "paper/findings.h"

namespace shadowattn::tool::paper {

const Json* find_part(const Findings& findings, const std::string& id) {
  for (const auto& [part, finding] : findings) {
    if (part == id) return &finding.values;
  }
  return nullptr;
}

const Json* find_entry(const Json* values, const char* array, const char* key,
                       const std::string& name) {
  if (values == nullptr) return nullptr;
  for (const Json& entry : values->at(array)) {
    if (entry.at(key) == name) return &entry;
  }
  return nullptr;
}

}  // namespace shadowattn::tool::paper
