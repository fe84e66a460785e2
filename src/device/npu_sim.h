// The device "npu-sim": what a mobile NPU is to its caller, played by a thread of this process.
// Graphs of fixed shape, a queue worked off in order, memory and graphs in limited number, an
// overhead per launch, heads handed over one by one, and faults on request. With a SoC file
// (soc/README.md) it has the limits of a real device and takes as long as that would.
//
// It is no measurement of an NPU: its scores are computed by this machine's own INT8 kernels, and
// its times are those, or what the SoC file says.
#pragma once

#include <memory>

#include "shadowattn/device.h"

namespace shadowattn {

/// Errors: options out of range, no such core, a SoC file that cannot be read, no thread.
Result<std::unique_ptr<Device>> open_npu_sim(const DeviceOptions& options);

}  // namespace shadowattn
