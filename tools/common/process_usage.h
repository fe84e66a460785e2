// What this process has used so far.
#pragma once

#include <cstdint>

namespace shadowattn::tool {

/// Seconds of processor time, user and system, of all threads.
double cpu_seconds();

/// Starts the peak of resident memory anew at what is resident now. False where the kernel does
/// not allow it: peaks then count from the start of the process.
bool reset_peak_memory();

/// Most bytes resident at once since the last reset.
int64_t peak_memory_since_reset();

}  // namespace shadowattn::tool
