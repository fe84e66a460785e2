#include "paper/findings.h"

namespace shadowattn::tool::paper {

const Json* find_part(const Findings& findings, const std::string& id) {
  for (const auto& [part, finding] : findings) {
    if (part == id) return &finding.values;
  }
  return nullptr;
}

}  // namespace shadowattn::tool::paper
