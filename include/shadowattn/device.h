// A device that computes the INT8 estimate of Q·Kᵀ the way a mobile NPU does: graphs that are
// compiled for one shape and one multiplier, INT8 in, INT8 out, one queue, its own memory.
//
//   Status s = device->reserve(bytes);                     once, when nothing is in flight
//   device->compile(1, {.heads = 2, .rows = 64, …});       asynchronous, in queue order
//   Result<Ticket> t = device->submit({1, heads});         asynchronous
//   Status s = device->wait(t.value(), 0, deadline, &timing);   scores of head 0 are there
//
// One launch computes for each of its heads h, with all operands dense and row-major,
//
//   acc[r][j]   = Σ_d query[h][r][d] · key[h][j][d]              exact INT32
//   score[r][j] = clamp(round15(sat16((acc + 2^shift/2) >> shift) · mantissa), -127, 127)
//   round15(x)  = (x + 2^14) >> 15                               rounds halves up
//
// (for shift = 0 nothing is added or shifted; >> is arithmetic; sat16 clamps to 16 bits). So
// score ≈ acc · multiplier, multiplier = mantissa · 2^-(15 + shift). Every device gives the same
// bits: the form is what SSSE3's pmulhrsw, NEON's sqrdmulh and HVX's vmpy:<<1:rnd:sat compute.
//
// A "head" here is a KV head; its rows are those of all query heads that read it, in any order.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shadowattn/status.h"

namespace shadowattn {

/// The factor from INT32 sums to INT8 scores. Valid: shift 0 … 15 and mantissa 128 … 255, or
/// shift 0 and mantissa 128 … 32767; then nothing that sat16 cuts was below 127 in magnitude.
struct Requantisation {
  int32_t mantissa = 128;
  int32_t shift = 0;

  bool operator==(const Requantisation&) const = default;
  double multiplier() const;
  bool valid() const;
};

/// The largest valid multiplier that is not above `multiplier`; the smallest of all below that.
Requantisation requantisation_below(double multiplier);

/// What a graph is compiled for.
struct GraphSpec {
  int32_t heads = 1;  ///< fused in one launch
  int32_t rows = 0;   ///< query rows per head
  int32_t keys = 0;
  int32_t dim = 0;
  Requantisation requantisation;

  bool operator==(const GraphSpec&) const = default;
  int64_t query_bytes() const { return int64_t{rows} * dim; }   ///< of one head
  int64_t key_bytes() const { return int64_t{keys} * dim; }     ///< of one head
  int64_t score_bytes() const { return int64_t{rows} * keys; }  ///< of one head
};

/// What a device takes. Sizes in elements, memory in bytes.
struct DeviceCapabilities {
  std::string name;         ///< "npu-sim"
  std::string description;  ///< for people: what it is, what it is not
  int32_t max_heads = 1;    ///< per launch
  int32_t max_rows = 0;     ///< per head
  int32_t max_keys = 0;
  int32_t max_dim = 0;
  int32_t row_multiple = 1;  ///< GraphSpec::rows must be a multiple; the next two likewise
  int32_t key_multiple = 1;
  int32_t dim_multiple = 1;
  int32_t max_graphs = 0;        ///< compiled at a time
  int64_t max_graph_bytes = 0;   ///< of all graphs compiled
  int64_t max_tensor_bytes = 0;  ///< one operand of one launch, all heads together
  int64_t max_memory_bytes = 0;  ///< reserve()
  int32_t queue_depth = 1;       ///< launches and compilations in flight
  bool concurrent = false;       ///< works while the CPU does something else
  /// How long to wait for one launch before the device counts as lost.
  std::chrono::milliseconds timeout{1000};

  /// Ok when a graph of this shape can be asked for; else what is in the way.
  Status supports(const GraphSpec& spec) const;
  /// Device memory that a compiled graph takes.
  int64_t (*graph_bytes)(const GraphSpec& spec) = nullptr;
};

/// Byte offsets into Device::memory() of one head's operands, multiples of kDeviceAlignment:
/// query [rows][dim], key [keys][dim], values in [-127, 127]; scores [rows][keys] are written.
struct LaunchHead {
  int64_t query = 0;
  int64_t key = 0;
  int64_t scores = 0;
};
inline constexpr int64_t kDeviceAlignment = 128;

using GraphId = int32_t;
using Ticket = int64_t;  ///< ascending in queue order

struct Launch {
  GraphId graph = 0;
  std::span<const LaunchHead> heads;  ///< GraphSpec::heads of them; copied by submit
};

/// When the device worked on a head of a launch: steady_clock, as nanoseconds since its epoch. The
/// first head's includes what the launch itself costs.
struct HeadTiming {
  int64_t start_ns = 0;
  int64_t end_ns = 0;
};

/// Calls come from one thread at a time, but for `wait`, which may be called from several threads
/// at once and beside the others. Nothing throws or blocks, but for `wait` and `reserve` (and
/// `submit` of a device that is not concurrent). After an error with the code kDeviceFailed or
/// kTimedOut the device is lost: what it still writes must not be read, it takes no more work, and
/// every wait for what had not ended then fails at once with kDeviceFailed. Other errors change
/// nothing.
class Device {
 public:
  using Clock = std::chrono::steady_clock;

  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  /// Abandons what is in flight; returns soon whatever state the device is in.
  virtual ~Device() = default;

  virtual const DeviceCapabilities& capabilities() const = 0;

  /// At least `bytes` of memory that both sides see, aligned to kDeviceAlignment; what it held is
  /// lost when it grows. Only when nothing is in flight.
  virtual Status reserve(int64_t bytes) = 0;
  /// Of reserve(); null before.
  virtual std::byte* memory() = 0;

  /// Compiles a graph under an id that is free, in queue order. What capabilities() rules out is
  /// an error here. A refusal by the device shows in the status of the ticket, and in that of
  /// launches of the graph: kUnsupported or kOutOfMemory. The id stays taken until `release`.
  virtual Result<Ticket> compile(GraphId id, const GraphSpec& spec) = 0;
  /// Forgets a graph once what was queued before is done; the id and the room are free at once.
  virtual Status release(GraphId id) = 0;

  /// Queues a launch. The operands must stay as they are until it is done.
  virtual Result<Ticket> submit(const Launch& launch) = 0;

  /// Waits until head `head` of a launch (0 for a compilation) is done, but not beyond `deadline`:
  /// then the status is kTimedOut and the device is given up. Heads finish in order. `timing` may
  /// be null. A ticket can be asked for as long as it is among the last 4 · queue_depth ones.
  virtual Status wait(Ticket ticket, int32_t head, Clock::time_point deadline,
                      HeadTiming* timing) = 0;

  /// CPU time in nanoseconds that this process spent playing the device; 0 for real ones. To be
  /// left out where the CPU's work is counted. From any thread.
  virtual int64_t simulation_cpu_ns() const { return 0; }
  /// Launches of a simulation with a SoC file that took longer than the real device would have:
  /// their times are this machine's. From any thread.
  virtual int64_t late_launches() const { return 0; }
};

/// What goes wrong on request, on npu-sim, from operation DeviceOptions::fault_at on.
enum class DeviceFault {
  kNone,
  kSlow,         ///< every launch takes twenty times as long
  kLate,         ///< the answer comes after the time-out
  kHang,         ///< no answer ever
  kLost,         ///< the device reports that it is gone
  kRefuse,       ///< compilations fail
  kWrong,        ///< scores are wrong
  kOutOfMemory,  ///< reserve fails
};

/// How the engine's pilot uses a device.
enum class PipelineMode {
  kOff,      ///< one launch at a time, the CPU waits for it
  kFifo,     ///< launches ahead, in order
  kPlanned,  ///< launches ahead, in the order predicted to end first
};

/// How the scale of a head's INT8 operands is chosen.
enum class ScaleRule {
  kCovering,  ///< the smallest of the grid with which at most clip_share of the rows clip; a head
              ///< for which there is none is estimated by the CPU
  kNearest,   ///< the nearest of the grid to the largest row's, which then clips (the published
              ///< code's rule; for comparison)
  kExact,     ///< no grid: the smallest with which at most clip_share of the rows clip
};

/// Everything about the pilot's device that a user may set.
struct DeviceOptions {
  /// "cpu": the engine's own fused INT8 kernels, a scale per row, any shape. "npu-sim", "hexagon".
  std::string name{"cpu"};
  std::string soc{};        ///< npu-sim: file with limits and times of a real one (soc/README.md)
  int32_t device_cpu = -1;  ///< npu-sim: core to pin its thread to; -1: none
  int32_t launch_us = 0;    ///< npu-sim: added to every launch
  int32_t max_graphs = 0;   ///< npu-sim: instead of its own limit; 0: its own
  DeviceFault fault = DeviceFault::kNone;
  /// The first operation that the fault meets: launches and compilations, counted from 0 (kRefuse
  /// lets launches pass, kSlow and kWrong compilations; reserve counts as the operation after it).
  int32_t fault_at = 0;
  int32_t timeout_ms = 0;  ///< 0: the device's own

  PipelineMode pipeline = PipelineMode::kPlanned;
  int32_t fuse_heads = 0;  ///< KV heads per launch at most; 0: as many as the device takes

  /// Ascending grids of scales; empty: geometric ones that fit any model (device/scale_grid.h).
  std::vector<float> query_scales{};
  std::vector<float> key_scales{};
  ScaleRule scale_rule = ScaleRule::kCovering;
  double clip_share = 0.001;  ///< of rows, in [0, 1]
  /// A scale per query row instead of one per head. It costs a device with INT8 inputs nothing, for
  /// a factor of a row cancels in the ranking of its keys.
  bool row_scales = true;
  /// Subtract the keys' mean, which changes neither a ranking nor a softmax.
  bool center_keys = true;
  /// Share of the scores that may be cut off at ±127, in [0, 1].
  double saturated_share = 0.001;
};

/// "cpu", "npu-sim", "hexagon".
std::vector<std::string_view> device_names();

/// Starts a device. Here "cpu" is the same arithmetic as npu-sim's on the calling thread, without
/// limits: the reference that devices are compared with. Errors say what is missing and how to get
/// it.
Result<std::unique_ptr<Device>> open_device(const DeviceOptions& options);

/// Compiles graphs of several shapes on `device`, runs them on seeded operands and compares every
/// score with a scalar computation. Uses the device's memory.
Status self_test(Device& device);

}  // namespace shadowattn
