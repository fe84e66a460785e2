#include "common/machine_load.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <string>

#include "common/process_usage.h"

namespace shadowattn::tool {

MachineLoad::MachineLoad() : start_(now()) {}

// proc(5): user, nice, system, idle, iowait, irq, softirq, steal, in ticks.
std::optional<MachineLoad::Times> MachineLoad::now() {
  std::ifstream file("/proc/stat");
  std::string name;
  std::array<double, 8> ticks{};
  if (!(file >> name) || name != "cpu") return std::nullopt;
  for (double& one : ticks) {
    if (!(file >> one)) return std::nullopt;
  }
  const double second = static_cast<double>(sysconf(_SC_CLK_TCK));
  const double busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
  return Times{busy / second, ticks[7] / second, (busy + ticks[3] + ticks[4] + ticks[7]) / second,
               cpu_seconds()};
}

std::optional<OtherLoad> MachineLoad::others() const {
  const std::optional<Times> end = now();
  if (!start_ || !end || end->all <= start_->all) return std::nullopt;
  const double all = end->all - start_->all;
  const double programs = (end->busy - start_->busy) - (end->own - start_->own);
  return OtherLoad{std::max(0.0, programs / all),
                   std::max(0.0, (end->stolen - start_->stolen) / all)};
}

}  // namespace shadowattn::tool
