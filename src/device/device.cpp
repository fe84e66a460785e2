#include <new>
#include <string>
#include <utility>

#include "device/cpu_device.h"
#include "device/device_queue.h"
#include "device/hexagon.h"
#include "device/npu_sim.h"
#include "shadowattn/device.h"

namespace shadowattn {
namespace {

using OpenFunction = Result<std::unique_ptr<Device>> (*)(const DeviceOptions&);

struct DeviceEntry {
  std::string_view name;
  OpenFunction open;
};

constexpr DeviceEntry kDevices[] = {
    {"cpu", open_cpu_device},
    {"npu-sim", open_npu_sim},
    {"hexagon", open_hexagon},
};

/// One dimension of a shape.
Status check_size(const std::string& device, const char* what, int32_t size, int32_t multiple,
                  int32_t maximum) {
  if (size >= 1 && size <= maximum && size % multiple == 0) return {};
  const std::string start = device + " takes no graph of " + std::to_string(size) + " " + what;
  if (size < 1) return Status::invalid_argument(start);
  if (size > maximum) return Status::unsupported(start + ": at most " + std::to_string(maximum));
  return Status::unsupported(start + ": only multiples of " + std::to_string(multiple));
}

/// One operand, all heads together.
Status check_tensor(const DeviceCapabilities& c, const char* what, int32_t heads, int64_t bytes) {
  if (bytes <= c.max_tensor_bytes / heads) return {};
  return Status::unsupported(c.name + ": the " + what + " of " + std::to_string(heads) +
                             " heads of " + std::to_string(bytes) + " bytes exceed " +
                             std::to_string(c.max_tensor_bytes) + " bytes");
}

/// Options that only npu-sim knows must not be ignored in silence.
Status check_unused(const DeviceOptions& options) {
  const char* unused = nullptr;
  if (!options.soc.empty()) unused = "a SoC file";
  if (options.device_cpu != -1) unused = "a core to pin to";
  if (options.launch_us != 0) unused = "an overhead per launch";
  if (options.max_graphs != 0) unused = "a number of graphs";
  if (options.fault != DeviceFault::kNone) unused = "a fault";
  if (unused == nullptr) return {};
  return Status::invalid_argument("the device " + options.name +
                                  " takes no such option: " + unused + " is for npu-sim");
}

}  // namespace

Status DeviceCapabilities::supports(const GraphSpec& spec) const try {
  Status s = check_size(name, "heads", spec.heads, 1, max_heads);
  if (s.ok()) s = check_size(name, "rows", spec.rows, row_multiple, max_rows);
  if (s.ok()) s = check_size(name, "keys", spec.keys, key_multiple, max_keys);
  if (s.ok()) s = check_size(name, "dimensions", spec.dim, dim_multiple, max_dim);
  if (s.ok() && !spec.requantisation.valid()) {
    s = Status::invalid_argument("no multiplier has mantissa " +
                                 std::to_string(spec.requantisation.mantissa) + " and shift " +
                                 std::to_string(spec.requantisation.shift));
  }
  if (s.ok()) s = check_tensor(*this, "queries", spec.heads, spec.query_bytes());
  if (s.ok()) s = check_tensor(*this, "keys", spec.heads, spec.key_bytes());
  if (s.ok()) s = check_tensor(*this, "scores", spec.heads, spec.score_bytes());
  if (s.ok() && graph_bytes != nullptr && graph_bytes(spec) > max_graph_bytes) {
    s = Status::unsupported(name + ": the graph takes " + std::to_string(graph_bytes(spec)) +
                            " bytes of " + std::to_string(max_graph_bytes));
  }
  return s;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

std::vector<std::string_view> device_names() {
  std::vector<std::string_view> names;
  for (const DeviceEntry& entry : kDevices) names.push_back(entry.name);
  return names;
}

Result<std::unique_ptr<Device>> open_device(const DeviceOptions& options) try {
  if (options.timeout_ms < 0) return Status::invalid_argument("timeout_ms is negative");
  std::string known;
  for (const DeviceEntry& entry : kDevices) {
    if (entry.name == options.name) {
      if (entry.name != "npu-sim") {
        if (Status s = check_unused(options); !s.ok()) return s;
      }
      return entry.open(options);
    }
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  return Status::invalid_argument("no device is called \"" + options.name + "\"; known: " + known);
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

}  // namespace shadowattn
