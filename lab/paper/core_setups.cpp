#include "paper/core_setups.h"

#include "common/core_choice.h"

namespace shadowattn::tool::paper {

MeasuringCores measuring_cores(const std::vector<int>& usable, const std::vector<int>& separate) {
  if (separate.size() > 1 || usable.size() < 2) return {separate, false};
  return {usable, true};
}

MeasuringCores measuring_cores() {
  const std::vector<int> usable = usable_cores();
  return measuring_cores(usable, separate_cores(usable));
}

std::vector<CoreSetup> core_setups(const MeasuringCores& cores) {
  const std::vector<int>& usable = cores.cores;
  if (usable.size() < 2) return {{kOneCore, "one CPU core", {usable.front()}, -1}};
  return {{kOneCore, "one CPU core; npu-sim on another", {usable[0]}, usable[1]},
          {kTwoCores, "two CPU cores, no device", {usable[0], usable[1]}, -1}};
}

std::string cores_note(const MeasuringCores& cores) {
  if (cores.cores.size() < 2) {
    return "Only one core can be used here: without another one there is none to play npu-sim on, "
           "and none for two CPU cores, so these were not measured.";
  }
  if (!cores.shares_a_core) return "";
  return "The two cores that can be used here are threads of one physical core, so each takes time "
         "from the other: figures with npu-sim and with two cores are too slow.";
}

}  // namespace shadowattn::tool::paper
