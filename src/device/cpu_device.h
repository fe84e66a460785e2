// The device "cpu": npu-sim's arithmetic on the calling thread, at once, and without limits to
// speak of. What other devices are compared with.
#pragma once

#include <memory>

#include "shadowattn/device.h"

namespace shadowattn {

Result<std::unique_ptr<Device>> open_cpu_device(const DeviceOptions& options);

}  // namespace shadowattn
