#include "device/cpu_device.h"

#include <new>

#include "device/device_memory.h"
#include "device/device_queue.h"
#include "device/graph_table.h"
#include "device/head_scorer.h"

namespace shadowattn {
namespace {

/// Large enough never to be in the way, small enough for no product of them to overflow.
DeviceCapabilities cpu_capabilities(const DeviceOptions& options) {
  DeviceCapabilities c;
  c.name = "cpu";
  c.description = "INT8 dot products on the calling thread: the arithmetic that devices share";
  c.max_heads = 256;
  c.max_rows = 1 << 20;
  c.max_keys = 1 << 24;
  c.max_dim = kLargestScoredDim;
  c.max_graphs = 1 << 16;
  c.max_graph_bytes = int64_t{1} << 40;
  c.max_tensor_bytes = int64_t{1} << 40;
  c.max_memory_bytes = int64_t{1} << 40;
  c.queue_depth = 16;
  c.concurrent = false;
  if (options.timeout_ms > 0) c.timeout = std::chrono::milliseconds(options.timeout_ms);
  c.graph_bytes = [](const GraphSpec&) { return static_cast<int64_t>(sizeof(Graph)); };
  return c;
}

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(const DeviceOptions& options)
      : capabilities_(cpu_capabilities(options)),
        graphs_(capabilities_),
        queue_(capabilities_.queue_depth, capabilities_.max_heads) {}

  const DeviceCapabilities& capabilities() const override { return capabilities_; }

  Status reserve(int64_t bytes) override {
    return memory_.reserve(bytes, capabilities_.max_memory_bytes);
  }

  std::byte* memory() override { return memory_.data(); }

  Result<Ticket> compile(GraphId id, const GraphSpec& spec) override try {
    Result<Ticket> ticket = queue_.next_ticket();
    if (!ticket.ok()) return ticket;
    const int64_t start = clock_ns(Device::Clock::now());
    if (Status s = capabilities_.supports(spec); !s.ok()) return s;
    scorer_.reserve(spec);  // first, so that a graph that is there can always be launched
    if (const auto graph = graphs_.add(id, spec); !graph.ok()) return graph.status();
    queue_.push(1);
    queue_.end_head(ticket.value(), 0, {start, clock_ns(Device::Clock::now())});
    return ticket;
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }

  Status release(GraphId id) override try {
    return graphs_.remove(id);
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }

  Result<Ticket> submit(const Launch& launch) override try {
    Result<Ticket> ticket = queue_.next_ticket();
    if (!ticket.ok()) return ticket;
    const auto graph = graphs_.find(launch.graph);
    if (!graph.ok()) return graph.status();
    const GraphSpec& spec = graph.value()->spec;
    if (Status s = check_launch(spec, launch.heads, memory_.bytes()); !s.ok()) return s;
    queue_.push(spec.heads);
    auto* base = reinterpret_cast<int8_t*>(memory_.data());
    int64_t start = clock_ns(Device::Clock::now());
    for (int32_t h = 0; h < spec.heads; ++h) {
      const LaunchHead& head = launch.heads[static_cast<size_t>(h)];
      scorer_.compute(spec, base + head.query, base + head.key, base + head.scores, nullptr);
      const int64_t end = clock_ns(Device::Clock::now());
      queue_.end_head(ticket.value(), h, {start, end});
      start = end;
    }
    return ticket;
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }

  Status wait(Ticket ticket, int32_t head, Clock::time_point deadline,
              HeadTiming* timing) override {
    return queue_.wait(ticket, head, deadline, timing);
  }

 private:
  const DeviceCapabilities capabilities_;
  GraphTable graphs_;
  DeviceQueue queue_;
  DeviceMemory memory_;
  HeadScorer scorer_;
};

}  // namespace

Result<std::unique_ptr<Device>> open_cpu_device(const DeviceOptions& options) try {
  return std::unique_ptr<Device>(std::make_unique<CpuDevice>(options));
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

}  // namespace shadowattn
