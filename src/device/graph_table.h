// The graphs of a device by id, and the checks of what a caller asks for: shared by the devices
// that are played by this process. Not thread-safe: it belongs to the calling thread.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "shadowattn/device.h"

namespace shadowattn {

struct Graph {
  GraphSpec spec;
  // The next two are the worker's alone: written when it compiles, read when it launches.
  bool compiled = false;
  Status refusal;  ///< why it is not compiled
};

class GraphTable {
 public:
  explicit GraphTable(const DeviceCapabilities& capabilities) : capabilities_(capabilities) {}

  /// Adds a graph. Errors: the id is taken, the device does not take the shape, no room. Throws
  /// std::bad_alloc.
  Result<std::shared_ptr<Graph>> add(GraphId id, const GraphSpec& spec);
  /// A graph that was queued before keeps it until then.
  Status remove(GraphId id);
  Result<std::shared_ptr<Graph>> find(GraphId id) const;

 private:
  const DeviceCapabilities& capabilities_;
  std::unordered_map<GraphId, std::shared_ptr<Graph>> graphs_;
  int64_t bytes_ = 0;
};

/// Whether the heads of a launch fit the graph and lie in `memory_bytes` bytes of device memory.
Status check_launch(const GraphSpec& spec, std::span<const LaunchHead> heads, int64_t memory_bytes);

}  // namespace shadowattn
