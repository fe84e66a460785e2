// Energy that the processor itself counts: RAPL, of Intel and AMD, through Linux' powercap files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace shadowattn::tool {

inline constexpr char kPowercapFolder[] = "/sys/class/powercap";

/// What the counters of all packages stood at, in microjoules, in the order of
/// EnergyCounter::packages.
using EnergyReading = std::vector<int64_t>;

/// The packages' counters: cores, caches and whatever else is in the package, at rest and at work,
/// whoever uses it. Not the memory's, nor the machine's. Nothing is estimated where there is none.
class EnergyCounter {
 public:
  explicit EnergyCounter(const std::filesystem::path& folder = kPowercapFolder);

  bool available() const { return missing_.empty(); }
  /// Why not, with what could be done about it; "" when it is available.
  const std::string& missing() const { return missing_; }
  /// "package-0", …; empty when it is not available.
  std::vector<std::string> packages() const;

  /// Throws Failure when a counter that could be read before cannot any more.
  EnergyReading read() const;
  /// Joules of all packages between two readings, no more than one wrap-around of a counter apart
  /// (which takes a minute at least).
  double joules(const EnergyReading& from, const EnergyReading& to) const;

 private:
  struct Package {
    std::string name;
    std::filesystem::path counter;
    int64_t range = 0;  ///< microjoules; the counter starts again from 0 after it
  };

  /// What is wrong with the package; "" when it was added.
  std::string add(const std::filesystem::path& zone);

  std::vector<Package> packages_;
  std::string missing_;
};

}  // namespace shadowattn::tool
