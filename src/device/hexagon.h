// The device `hexagon`: real Hexagon code (hexagon/, HVX) that runs in qemu-hexagon, since nothing
// here is a phone. What it proves is the arithmetic and the way from host to DSP, not speed.
// docs/hexagon.md tells what a phone would need.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "shadowattn/device.h"

namespace shadowattn {

/// Starts the emulator with the program that was built along with the library. kUnsupported: one
/// of the two is missing, the message says how to get it.
Result<std::unique_ptr<Device>> open_hexagon(const DeviceOptions& options);

/// How open_hexagon starts the program.
Result<std::vector<std::string>> hexagon_command();

/// A device whose program is started by `command`: any that speaks hexagon/protocol.h. `timeout`
/// holds for the handshake, for `reserve` and as the capability.
Result<std::unique_ptr<Device>> start_hexagon(const std::vector<std::string>& command,
                                              std::chrono::milliseconds timeout);

/// The process behind a device of start_hexagon, for tests that harm it; 0 for other devices.
pid_t hexagon_process(const Device& device);

}  // namespace shadowattn
