#include "common/process_usage.h"

#include <sys/resource.h>

#include <fstream>
#include <string>

#include "common/summary.h"

namespace shadowattn::tool {
namespace {

constexpr char kPeakKey[] = "VmHWM:";
constexpr char kResetPeak[] = "5";  // see proc(5), /proc/pid/clear_refs

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

double cpu_seconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

bool reset_peak_memory() {
  std::ofstream file("/proc/self/clear_refs");
  file << kResetPeak << std::flush;
  return file.good();
}

int64_t peak_memory_since_reset() {
  std::ifstream file("/proc/self/status");
  std::string key;
  while (file >> key) {
    int64_t kib = 0;
    if (key == kPeakKey && file >> kib) return kib * 1024;
    file.ignore(1 << 12, '\n');
  }
  return peak_memory_bytes();
}

}  // namespace shadowattn::tool
