#include "paper/core_setups.h"

namespace shadowattn::tool::paper {

std::vector<CoreSetup> core_setups(const std::vector<int>& usable) {
  std::vector<CoreSetup> setups;
  if (usable.size() < 2) {
    setups.push_back({kOneCore, "one CPU core", {usable.front()}, -1});
    return setups;
  }
  setups.push_back({kOneCore, "one CPU core; npu-sim on another", {usable.front()}, usable[1]});
  setups.push_back({kTwoCores, "two CPU cores, no device", {usable[0], usable[1]}, -1});
  return setups;
}

std::string missing_setups(const std::vector<int>& usable) {
  if (usable.size() > 1) return "";
  return "Only one core can be used here: without another one there is none to play npu-sim on, "
         "and none for two CPU cores, so these were not measured.";
}

}  // namespace shadowattn::tool::paper
