#include "device/hexagon.h"

#include <dlfcn.h>

#include <filesystem>
#include <new>
#include <system_error>

#include "device/hexagon_device.h"

namespace shadowattn {
namespace {

namespace fs = std::filesystem;

// From CMake: the build's own copy of the program, empty when it could not be built.
constexpr const char* kBuiltProgram = SHADOWATTN_HEXAGON_PROGRAM;
constexpr const char* kProgramName = "shadowattn-hexagon";
// An emulated launch takes seconds where a real one takes milliseconds.
constexpr std::chrono::milliseconds kTimeout{60000};

// The file that holds this code: the executable, or a plug-in in it.
fs::path own_file() {
  Dl_info info{};
  static const char anchor = 0;
  if (dladdr(&anchor, &info) == 0 || !info.dli_fname) return {};
  return info.dli_fname;
}

// Beside the code first: an installation or a build folder may have been moved.
fs::path find_program() {
  std::error_code ignored;
  for (const fs::path& file : {own_file(), fs::read_symlink("/proc/self/exe", ignored)}) {
    if (file.empty()) continue;
    const fs::path folder = fs::absolute(file, ignored).parent_path();
    for (const fs::path& candidate :
         {folder / kProgramName, folder / ".." / "lib" / kProgramName}) {
      if (fs::is_regular_file(candidate, ignored)) return candidate;
    }
  }
  const fs::path built = kBuiltProgram;
  return !built.empty() && fs::is_regular_file(built, ignored) ? built : fs::path();
}

}  // namespace

Result<std::vector<std::string>> hexagon_command() {
  try {
    const fs::path program = find_program();
    if (!program.empty()) {
      return std::vector<std::string>{"qemu-hexagon", "-cpu", "v67", program.string()};
    }
    const bool built = *kBuiltProgram != 0;
    return Status::unsupported(
        built ? "hexagon: the program shadowattn-hexagon is not where it was built or installed"
              : "hexagon: built without the Hexagon program: install clang-19 and lld-19, then "
                "build again");
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, {});
  } catch (const fs::filesystem_error& error) {
    return Status::unsupported(std::string("hexagon: ") + error.what());
  }
}

Result<std::unique_ptr<Device>> start_hexagon(const std::vector<std::string>& command,
                                              std::chrono::milliseconds timeout) {
  try {
    Result<std::unique_ptr<HexagonChannel>> channel = HexagonChannel::start(command);
    if (!channel.ok()) return channel.status();
    auto device = std::make_unique<HexagonDevice>(std::move(channel).value(), timeout);
    Status status = device->greet();
    if (!status.ok()) return status;
    return std::unique_ptr<Device>(std::move(device));
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, {});
  }
}

Result<std::unique_ptr<Device>> open_hexagon(const DeviceOptions& options) {
  Result<std::vector<std::string>> command = hexagon_command();
  if (!command.ok()) return command.status();
  const std::chrono::milliseconds timeout =
      options.timeout_ms > 0 ? std::chrono::milliseconds(options.timeout_ms) : kTimeout;
  Result<std::unique_ptr<Device>> device = start_hexagon(command.value(), timeout);
  if (!device.ok() && device.status().code() == StatusCode::kUnsupported) {
    return Status::unsupported("hexagon: qemu-hexagon not found: install qemu-user");
  }
  return device;
}

pid_t hexagon_process(const Device& device) {
  const auto* hexagon = dynamic_cast<const HexagonDevice*>(&device);
  return hexagon ? hexagon->process() : 0;
}

}  // namespace shadowattn
