// How busy others kept the machine while something was measured.
#pragma once

#include <optional>

namespace shadowattn::tool {

/// Shares of all cores' time, 0 to 1.
struct OtherLoad {
  double programs = 0;  ///< other programs
  double stolen = 0;    ///< the hypervisor gave it to other machines
  double sum() const { return programs + stolen; }
};

/// Watches from its making on, by /proc/stat.
class MachineLoad {
 public:
  MachineLoad();
  /// Since the start; none where the system does not tell.
  std::optional<OtherLoad> others() const;

 private:
  struct Times {
    double busy = 0;    ///< seconds of all cores, this process included
    double stolen = 0;  ///< seconds
    double all = 0;     ///< seconds, idle ones included
    double own = 0;     ///< seconds of this process
  };
  static std::optional<Times> now();

  std::optional<Times> start_;
};

}  // namespace shadowattn::tool
