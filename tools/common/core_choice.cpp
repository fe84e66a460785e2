#include "common/core_choice.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <fstream>
#include <set>
#include <string>
#include <system_error>
#include <thread>

#include "common/failure.h"

namespace shadowattn::tool {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw Failure(what + ": " + std::system_category().message(errno));
}

bool has(const std::vector<int>& cores, int core) {
  return std::find(cores.begin(), cores.end(), core) != cores.end();
}

}  // namespace

CoreChoice choose_cores(const std::vector<int>& usable, int count, bool device, int device_core) {
  const auto available = static_cast<int>(usable.size());
  if (count > available) {
    throw Failure("--cpus " + std::to_string(count) + " cannot be had: this process may use " +
                  std::to_string(available) + " cores");
  }
  CoreChoice choice;
  choice.cpu.assign(usable.begin(), usable.begin() + count);
  if (!device) return choice;
  if (device_core < 0 && count == available) {
    throw Failure("no core is left for the simulated device: --cpus " + std::to_string(count) +
                  " takes all that this process may use");
  }
  choice.device = device_core < 0 ? usable[static_cast<size_t>(count)] : device_core;
  if (has(choice.cpu, choice.device)) {
    throw Failure("core " + std::to_string(choice.device) +
                  " cannot play the device: --cpus gives it the CPU's work");
  }
  return choice;
}

std::vector<int> usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) fail("the usable cores cannot be found out");
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(static_cast<size_t>(core), &set)) cores.push_back(core);
  }
  return cores;
}

std::vector<int> separate_cores(const std::vector<int>& cores,
                                const std::filesystem::path& folder) {
  std::set<std::string> seen;  // by the list of the threads that a core has
  std::vector<int> separate;
  for (const int core : cores) {
    std::ifstream file(folder / ("cpu" + std::to_string(core)) / "topology" /
                       "thread_siblings_list");
    std::string siblings;
    if (!(file >> siblings) || seen.insert(siblings).second) separate.push_back(core);
  }
  return separate;
}

void restrict_to_cores(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(static_cast<size_t>(core), &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) fail("the cores cannot be restricted");
}

void run_on_cores(const std::vector<int>& cores, const std::function<void()>& work) {
  std::exception_ptr thrown;
  std::thread([&] {
    try {
      restrict_to_cores(cores);
      work();
    } catch (...) {
      thrown = std::current_exception();
    }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace shadowattn::tool
