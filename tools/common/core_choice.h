// Which cores of this machine a benchmark uses.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

namespace shadowattn::tool {

struct CoreChoice {
  std::vector<int> cpu;  ///< for everything but a simulated device
  int device = -1;       ///< for the simulated device's thread; -1: any
};

/// The first `count` of the cores `usable` (ascending) for the CPU's work. With `device`, the
/// device gets `device_core`, or the first core behind these when that is -1. Throws Failure when
/// there are too few cores, or when the device would share one with the CPU's work.
CoreChoice choose_cores(const std::vector<int>& usable, int count, bool device, int device_core);

/// The cores that this process may run on, ascending. Throws Failure.
std::vector<int> usable_cores();

/// Of `cores` those that are no second thread of a physical core before them (SMT), as Linux tells
/// in `folder`. What it does not tell of counts as a core of its own.
std::vector<int> separate_cores(const std::vector<int>& cores,
                                const std::filesystem::path& folder = "/sys/devices/system/cpu");

/// Keeps the calling thread, and all threads that it starts from now on, on `cores`. Throws
/// Failure.
void restrict_to_cores(const std::vector<int>& cores);

/// Runs `work` on a thread of its own that stays on `cores`, as do all threads that it starts, and
/// waits for its end. So the caller's own cores are the same afterwards, however it ends: what
/// `work` throws is thrown again. Throws Failure when the cores cannot be had.
void run_on_cores(const std::vector<int>& cores, const std::function<void()>& work);

}  // namespace shadowattn::tool
