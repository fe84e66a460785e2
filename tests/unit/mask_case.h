// A mask that a test is run with, by name.
#pragma once

#include <ostream>
#include <string>

#include "engine_problem.h"

namespace shadowattn::test {

struct MaskCase {
  std::string label;
  void (*prepare)(Problem& p);
  friend void PrintTo(const MaskCase& c, std::ostream* out) { *out << c.label; }
};

inline std::string mask_label(const testing::TestParamInfo<MaskCase>& info) {
  return info.param.label;
}

}  // namespace shadowattn::test
