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

/// The cores to measure on: of those that are usable one per physical core, if that leaves two.
struct MeasuringCores {
  std::vector<int> cores;      ///< ascending, at least one
  bool shares_a_core = false;  ///< they are threads of one physical core
};
MeasuringCores measuring_cores(const std::vector<int>& usable, const std::vector<int>& separate);
/// Of this process. Throws Failure.
MeasuringCores measuring_cores();

/// One core, with the next one for the simulated device; then two without a device. What there are
/// no cores for is left out.
std::vector<CoreSetup> core_setups(const MeasuringCores& cores);
/// What was left out for lack of cores, or suffers from it, in words; "" when all is well.
std::string cores_note(const MeasuringCores& cores);

}  // namespace shadowattn::tool::paper
