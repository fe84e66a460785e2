// What goes wrong on request, on npu-sim. A fault meets the operation fault_at, counted from 0 over
// launches and compilations, and all operations after it that it can meet.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "shadowattn/device.h"

namespace shadowattn {

inline constexpr int kSlowFactor = 20;

class NpuSimFaults {
 public:
  NpuSimFaults(DeviceFault fault, int32_t first) : fault_(fault), first_(first) {}

  bool meets(DeviceFault fault, int64_t operation) const {
    return fault == fault_ && operation >= first_;
  }

 private:
  DeviceFault fault_;
  int64_t first_;
};

/// How long after its start an operation that is late (kLate) ends: well beyond the time-out, for
/// callers count that from some moment later than the start.
std::chrono::nanoseconds late_after(std::chrono::milliseconds timeout);

/// Makes every score wrong (kWrong). Some become -128, which no device that works answers.
void spoil_scores(int8_t* scores, int64_t count);

/// "npu-sim: <what> (a fault that was asked for)".
std::string fault_message(const char* what);

}  // namespace shadowattn
