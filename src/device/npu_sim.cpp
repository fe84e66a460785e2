#include "device/npu_sim.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <ctime>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "device/device_memory.h"
#include "device/device_queue.h"
#include "device/graph_table.h"
#include "device/head_scorer.h"
#include "device/latency_model.h"
#include "device/npu_sim_faults.h"
#include "device/soc_file.h"

namespace shadowattn {
namespace {

using Clock = Device::Clock;

/// A graph without weights takes 10 to 100 KB on the devices that the method was published for:
/// here 1 head takes 17 KiB and 16 heads 92 KiB. The constants are little else than its shape.
int64_t npu_sim_graph_bytes(const GraphSpec& spec) { return (12 + int64_t{5} * spec.heads) * 1024; }

/// Limits without a SoC file: a middling NPU. Where nothing else is said they are assumptions.
DeviceCapabilities default_capabilities() {
  DeviceCapabilities c;
  c.name = "npu-sim";
  c.description = "an NPU played by a thread of this process; no figure of a real one";
  c.max_heads = 16;   // the most that published operators for phones take
  c.max_rows = 512;   // the longest prompt chunk they are compiled for
  c.max_keys = 4096;  // the contexts that the method was published for
  c.max_dim = kLargestScoredDim;
  c.row_multiple = 16;  // published: 64; smaller ones waste less on short tiles
  c.key_multiple = 64;  // two published tiles of 32 keys; one cache line of scores
  c.dim_multiple = 16;  // what this engine takes; published: 32
  c.max_graphs = 64;
  c.max_graph_bytes = int64_t{8} << 20;    // 64 large graphs fit, with little to spare
  c.max_tensor_bytes = int64_t{64} << 20;  // the most that 16 heads × 512 rows × 4096 keys take: 32
  c.max_memory_bytes = int64_t{1} << 30;
  c.queue_depth = 32;
  c.concurrent = true;
  c.timeout = std::chrono::seconds(6);  // what the published host code waits
  c.graph_bytes = npu_sim_graph_bytes;
  return c;
}

struct Operation {
  std::shared_ptr<Graph> graph;
  std::vector<LaunchHead> heads;  ///< empty: a compilation
  int8_t* memory = nullptr;
  Clock::time_point queued;
};

class NpuSim final : public Device {
 public:
  NpuSim(DeviceCapabilities capabilities, std::optional<LatencyModel> model,
         const DeviceOptions& options)
      : capabilities_(std::move(capabilities)),
        model_(model),
        overhead_(std::chrono::microseconds(options.launch_us)),
        faults_(options.fault, options.fault_at),
        graphs_(capabilities_),
        queue_(capabilities_.queue_depth, capabilities_.max_heads),
        operations_(static_cast<size_t>(capabilities_.queue_depth)) {
    if (model_) overhead_ += duration(model_->launch_ns);
  }

  ~NpuSim() override {
    stop_.store(true, std::memory_order_relaxed);
    queue_.close();
    if (worker_.joinable()) worker_.join();
  }

  /// May throw std::system_error.
  Status start(int32_t cpu) {
    worker_ = std::thread([this] { work(); });
    pthread_setname_np(worker_.native_handle(), "npu-sim");
    return cpu < 0 ? Status() : pin(cpu);
  }

  const DeviceCapabilities& capabilities() const override { return capabilities_; }
  std::byte* memory() override { return memory_.data(); }

  Status reserve(int64_t bytes) override try {
    const Result<Ticket> next = queue_.next_ticket();
    if (!queue_.idle()) {
      return Status::invalid_argument("npu-sim: memory cannot be reserved with work in flight");
    }
    if (!next.ok()) return next.status();
    if (faults_.meets(DeviceFault::kOutOfMemory, next.value())) {
      return {StatusCode::kOutOfMemory, fault_message("no memory")};
    }
    return memory_.reserve(bytes, capabilities_.max_memory_bytes);
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }

  Result<Ticket> compile(GraphId id, const GraphSpec& spec) override try {
    Result<Ticket> ticket = queue_.next_ticket();
    if (!ticket.ok()) return ticket;
    auto graph = graphs_.add(id, spec);
    if (!graph.ok()) return graph.status();
    push(ticket.value(), std::move(graph).value(), {});
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
    auto graph = graphs_.find(launch.graph);
    if (!graph.ok()) return graph.status();
    if (Status s = check_launch(graph.value()->spec, launch.heads, memory_.bytes()); !s.ok()) {
      return s;
    }
    push(ticket.value(), std::move(graph).value(), launch.heads);
    return ticket;
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }

  Status wait(Ticket ticket, int32_t head, Clock::time_point deadline,
              HeadTiming* timing) override {
    return queue_.wait(ticket, head, deadline, timing);
  }

  int64_t simulation_cpu_ns() const override {
    clockid_t clock{};
    timespec time{};
    // The handle is that of a thread that is joined in the destructor only.
    const pthread_t thread = const_cast<std::thread&>(worker_).native_handle();
    if (pthread_getcpuclockid(thread, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
    return int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
  }

  int64_t late_launches() const override { return late_.load(std::memory_order_relaxed); }

 private:
  /// At most an hour: a model's times for large shapes may be absurd, and must not overflow.
  static Clock::duration duration(double ns) {
    return std::chrono::nanoseconds(static_cast<int64_t>(std::min(ns, 3.6e12)));
  }

  Status pin(int32_t cpu) {
    int error = EINVAL;
    if (cpu < CPU_SETSIZE) {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(static_cast<size_t>(cpu), &set);
#if defined(__ANDROID__)
      const pid_t thread = pthread_gettid_np(worker_.native_handle());
      error = sched_setaffinity(thread, sizeof set, &set) == 0 ? 0 : errno;
#else
      error = pthread_setaffinity_np(worker_.native_handle(), sizeof set, &set);
#endif
    }
    if (error == 0) return {};
    return Status::unsupported("npu-sim: its thread cannot be pinned to core " +
                               std::to_string(cpu) + ": " + std::system_category().message(error));
  }

  void push(Ticket ticket, std::shared_ptr<Graph> graph, std::span<const LaunchHead> heads) {
    // Free: less than queue_depth operations are in flight.
    Operation& op = operations_[static_cast<size_t>(ticket) % operations_.size()];
    op.heads.assign(heads.begin(), heads.end());
    op.graph = std::move(graph);
    op.memory = reinterpret_cast<int8_t*>(memory_.data());
    op.queued = Clock::now();
    queue_.push(heads.empty() ? 1 : static_cast<int32_t>(heads.size()));
  }

  // --- the worker ---

  void work() {
    for (Ticket ticket = 0; queue_.wait_for_push(ticket); ++ticket) {
      try {
        if (!play_fault(ticket)) return;
        const Operation& op = operations_[static_cast<size_t>(ticket) % operations_.size()];
        const bool goes_on = op.heads.empty() ? compile_graph(ticket, op) : launch(ticket, op);
        if (!goes_on) return;
      } catch (const std::bad_alloc&) {
        queue_.fail(ticket, out_of_memory());
      }
    }
  }

  /// What faults do before an operation starts; false: the thread ends.
  bool play_fault(Ticket ticket) {
    if (faults_.meets(DeviceFault::kHang, ticket)) {
      return queue_.sleep_until(Clock::time_point::max());
    }
    if (faults_.meets(DeviceFault::kLost, ticket)) {
      queue_.lose({StatusCode::kDeviceFailed, fault_message("the device is gone")});
      return false;
    }
    if (faults_.meets(DeviceFault::kLate, ticket)) {
      return queue_.sleep_until(Clock::now() + late_after(capabilities_.timeout));
    }
    return true;
  }

  /// When an operation starts: at once, or, on the clock of the modelled device, when that would
  /// have been done with what came before.
  Clock::time_point start_of(const Operation& op) const {
    return model_ ? std::max(op.queued, free_since_) : Clock::now();
  }

  bool compile_graph(Ticket ticket, const Operation& op) {
    const std::shared_ptr<Graph> graph = op.graph;
    const Clock::time_point start = start_of(op);
    if (faults_.meets(DeviceFault::kRefuse, ticket)) {
      graph->refusal = Status::unsupported(fault_message("the graph was refused"));
      queue_.fail(ticket, graph->refusal);
      return true;
    }
    scorer_.reserve(graph->spec);
    Clock::time_point end = Clock::now();
    if (model_) {
      end = std::max(end, start + duration(model_->compile_ns));
      if (!queue_.sleep_until(end)) return false;
      free_since_ = end;
    }
    graph->compiled = true;
    queue_.end_head(ticket, 0, {clock_ns(start), clock_ns(end)});
    return true;
  }

  bool launch(Ticket ticket, const Operation& op) {
    // After its last head has ended, `op` may be another one.
    const std::shared_ptr<Graph> graph = op.graph;
    const GraphSpec& spec = graph->spec;
    if (!graph->compiled) {
      queue_.fail(ticket, graph->refusal.ok() ? out_of_memory() : graph->refusal);
      return true;
    }
    Clock::time_point start = start_of(op);
    bool late = false;
    for (int32_t h = 0; h < spec.heads; ++h) {
      const LaunchHead head = op.heads[static_cast<size_t>(h)];
      const Clock::time_point computing = Clock::now();
      int8_t* scores = op.memory + head.scores;
      scorer_.compute(spec, op.memory + head.query, op.memory + head.key, scores, &stop_);
      if (faults_.meets(DeviceFault::kWrong, ticket)) spoil_scores(scores, spec.score_bytes());
      const Clock::time_point computed = Clock::now();
      Clock::duration time = model_ ? duration(model_->head_time_ns(spec)) : computed - computing;
      if (h == 0) time += overhead_;
      if (faults_.meets(DeviceFault::kSlow, ticket)) time *= kSlowFactor;
      Clock::time_point end = start + time;
      if (model_ && computed > end) {
        late = true;
        end = computed;
      }
      if (!queue_.sleep_until(end)) return false;
      if (h + 1 == spec.heads) {
        if (late) late_.fetch_add(1, std::memory_order_relaxed);
        free_since_ = end;
      }
      queue_.end_head(ticket, h, {clock_ns(start), clock_ns(end)});
      start = end;
    }
    return true;
  }

  const DeviceCapabilities capabilities_;
  const std::optional<LatencyModel> model_;
  Clock::duration overhead_;  ///< per launch
  const NpuSimFaults faults_;
  GraphTable graphs_;
  DeviceQueue queue_;
  DeviceMemory memory_;
  std::vector<Operation> operations_;  ///< by ticket modulo queue_depth
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> late_{0};

  // The worker's.
  HeadScorer scorer_;
  Clock::time_point free_since_;  ///< when the modelled device ended its last operation

  std::thread worker_;  ///< last: it uses all of the above
};

Status check_options(const DeviceOptions& options) {
  if (options.device_cpu < -1) return Status::invalid_argument("device_cpu is below -1");
  if (options.launch_us < 0) return Status::invalid_argument("launch_us is negative");
  if (options.max_graphs < 0) return Status::invalid_argument("max_graphs is negative");
  if (options.fault_at < 0) return Status::invalid_argument("fault_at is negative");
  return {};
}

}  // namespace

Result<std::unique_ptr<Device>> open_npu_sim(const DeviceOptions& options) try {
  if (Status s = check_options(options); !s.ok()) return s;
  DeviceCapabilities capabilities = default_capabilities();
  std::optional<LatencyModel> model;
  if (!options.soc.empty()) {
    auto soc = load_soc(options.soc);
    if (!soc.ok()) return soc.status();
    capabilities = std::move(soc.value().capabilities);
    capabilities.graph_bytes = npu_sim_graph_bytes;
    model = soc.value().latency;
  }
  if (options.max_graphs > 0) capabilities.max_graphs = options.max_graphs;
  if (options.timeout_ms > 0) capabilities.timeout = std::chrono::milliseconds(options.timeout_ms);
  auto device = std::make_unique<NpuSim>(std::move(capabilities), model, options);
  if (Status s = device->start(options.device_cpu); !s.ok()) return s;
  return std::unique_ptr<Device>(std::move(device));
} catch (const std::bad_alloc&) {
  return out_of_memory();
} catch (const std::system_error&) {
  return Status(StatusCode::kOutOfMemory, "npu-sim: no thread could be started");
}

}  // namespace shadowattn
