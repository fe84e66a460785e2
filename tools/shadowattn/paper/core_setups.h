// On which cores the experiments about time run.
#pragma once

#include <string>
#include <vector>

namespace shadowattn::tool::paper {

inline constexpr char kOneCore[] = "one-core";
inline constexpr char kTwoCores[] = "two-cores";

/// On which cores something is measured.
struct CoreSetup {
  std::string id;     ///< kOneCore or kTwoCores
  std::string label;  ///< for people
  std::vector<int> cpu;
  int device = -1;  ///< core that plays npu-sim; -1: none

  int threads() const { return static_cast<int>(cpu.size()); }
};

/// One core, with the next one for the simulated device; then two without a device. What `usable`
/// (ascending, at least one) has no cores for is left out.
std::vector<CoreSetup> core_setups(const std::vector<int>& usable);
/// What was left out for lack of cores, in words; "" when nothing was.
std::string missing_setups(const std::vector<int>& usable);

}  // namespace shadowattn::tool::paper
