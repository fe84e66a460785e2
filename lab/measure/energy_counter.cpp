#include "measure/energy_counter.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <optional>
#include <system_error>

#include "common/failure.h"

namespace shadowattn::tool {
namespace fs = std::filesystem;
namespace {

constexpr char kZonePrefix[] = "intel-rapl:";  // AMD's too
constexpr char kPackagePrefix[] = "package";   // others: "psys", which counts packages again
constexpr double kMicrojoules = 1e6;

std::optional<int64_t> read_number(const fs::path& path) {
  std::ifstream file(path);
  int64_t number = 0;
  if (!(file >> number) || number < 0) return std::nullopt;
  return number;
}

// "intel-rapl:0"; "intel-rapl:0:1" is a part of it.
bool is_whole_zone(const std::string& name) {
  const std::string prefix = kZonePrefix;
  return name.starts_with(prefix) && name.find(':', prefix.size()) == std::string::npos;
}

std::vector<fs::path> whole_zones(const fs::path& folder) {
  std::vector<fs::path> zones;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (is_whole_zone(entry->path().filename().string())) zones.push_back(entry->path());
  }
  std::sort(zones.begin(), zones.end());
  return zones;
}

std::string cannot_be_read(const fs::path& path, int error) {
  std::string why = path.string() + " cannot be read";
  if (error == EACCES || error == EPERM) {
    return why + ": only root may; run as root, or let your user read this file";
  }
  if (error != 0) why += ": " + std::system_category().message(error);
  return why;
}

}  // namespace

EnergyCounter::EnergyCounter(const fs::path& folder) {
  const std::vector<fs::path> zones = whole_zones(folder);
  std::string problem;
  for (const fs::path& zone : zones) {
    std::string name;
    std::ifstream(zone / "name") >> name;
    if (!name.starts_with(kPackagePrefix)) continue;
    problem = add(zone);
    if (!problem.empty()) break;
  }
  if (!problem.empty()) packages_.clear();  // a part of the machine is not the machine
  if (!packages_.empty()) return;
  missing_ = !problem.empty() ? problem
                              : "this machine shows no energy counter (RAPL): " + folder.string() +
                                    " has no package; virtual machines and most phones have none";
}

std::string EnergyCounter::add(const fs::path& zone) {
  Package package;
  std::ifstream(zone / "name") >> package.name;
  package.counter = zone / "energy_uj";
  errno = 0;
  if (!read_number(package.counter)) return cannot_be_read(package.counter, errno);
  errno = 0;
  const std::optional<int64_t> range = read_number(zone / "max_energy_range_uj");
  if (!range) return cannot_be_read(zone / "max_energy_range_uj", errno);
  package.range = *range;
  packages_.push_back(std::move(package));
  return "";
}

std::vector<std::string> EnergyCounter::packages() const {
  std::vector<std::string> names;
  for (const Package& package : packages_) names.push_back(package.name);
  return names;
}

EnergyReading EnergyCounter::read() const {
  EnergyReading reading;
  for (const Package& package : packages_) {
    errno = 0;
    const std::optional<int64_t> value = read_number(package.counter);
    if (!value) throw Failure("the energy counter " + cannot_be_read(package.counter, errno));
    reading.push_back(*value);
  }
  return reading;
}

double EnergyCounter::joules(const EnergyReading& from, const EnergyReading& to) const {
  double sum = 0;
  for (size_t i = 0; i < std::min({packages_.size(), from.size(), to.size()}); ++i) {
    const int64_t wrapped = to[i] < from[i] ? packages_[i].range : 0;
    sum += static_cast<double>(to[i] - from[i] + wrapped) / kMicrojoules;
  }
  return sum;
}

}  // namespace shadowattn::tool
