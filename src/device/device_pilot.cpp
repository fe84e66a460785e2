#include "device/device_pilot.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <utility>

#include "device/pipeline_order.h"
#include "plan/profile_lookup.h"

namespace shadowattn {
namespace {

/// Rows of a launch per KV head: enough that a launch's overhead is small beside its work, few
/// enough that the CPU has something to do soon.
constexpr int64_t kLaunchRows = 512;
constexpr int64_t kSlotBytes = 8 << 20;    ///< scores of one KV head of a group, about
constexpr int64_t kSlotsBytes = 48 << 20;  ///< all slots
constexpr int64_t kKeysBytes = 64 << 20;   ///< keys of the heads that are estimated in one go
constexpr int32_t kMostSlots = 4;
constexpr int64_t kKeyStep = 64;  ///< DeviceScores::KeyTileScores::keys is a multiple

int64_t align(int64_t bytes) {
  return (bytes + kDeviceAlignment - 1) / kDeviceAlignment * kDeviceAlignment;
}

/// The limits that shapes are cut for: what reads scores takes the keys in steps of kKeyStep.
DeviceCapabilities with_key_step(DeviceCapabilities limits) {
  if (limits.key_multiple < 1) return limits;
  limits.key_multiple = static_cast<int32_t>(
      std::min<int64_t>(std::lcm(int64_t{limits.key_multiple}, kKeyStep), INT32_MAX));
  return limits;
}

/// Lists that end by mass keep some share of what they may; orders need no more than that.
int64_t expected_kept(const ListBudget& budget, int64_t visible) {
  constexpr int64_t kShare = 4;
  return budget.by_mass() ? (budget.most(visible) + kShare - 1) / kShare : budget.most(visible);
}

class Timer {
 public:
  int64_t ns() const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Device::Clock::now() - start_)
        .count();
  }

 private:
  Device::Clock::time_point start_ = Device::Clock::now();
};

}  // namespace

DevicePilot::DevicePilot(const DeviceOptions& options, std::unique_ptr<Device> device)
    : options_(options), choices_(ScaleChoices::from(options)), device_(std::move(device)) {}

void DevicePilot::lose(const Status& status, DeviceReport* report) {
  lost_ = device_->capabilities().name + " is not used any more: " + status.message();
  report->note = lost_;
  // The bank's graphs go with the device.
  bank_.reset();
  device_.reset();
}

bool DevicePilot::start() {
  if (!lost_.empty()) return false;
  if (bank_.has_value()) return true;
  if (device_ == nullptr) {
    Result<std::unique_ptr<Device>> opened = open_device(options_);
    if (!opened.ok()) {
      lost_ = options_.name + " cannot be used: " + opened.status().message();
      return false;
    }
    device_ = std::move(opened).value();
  }
  shapes_.emplace(with_key_step(device_->capabilities()));
  bank_.emplace(*device_);
  return true;
}

std::optional<DeviceShape> DevicePilot::shape_call(const CallContext& context,
                                                   DeviceReport* report) const {
  const AttentionCall& call = context.call;
  DeviceShape shape;
  shape.group_heads = call.query.heads / call.key.heads;
  shape.keys = {context.visibility.begin(), context.visibility.end()};
  const int64_t keys = shape.keys.end - shape.keys.begin;

  int64_t tile_rows = 0;
  for (const QueryTile& tile : context.plan.tiles) {
    tile_rows = std::max(tile_rows, tile.rows.count * shape.group_heads);
  }
  const int64_t rows = std::min({kLaunchRows, int64_t{shapes_->max_rows()}, kSlotBytes / keys});
  // Fewer tiles in a launch where the device is small.
  for (shape.tiles_per_group = std::max<int64_t>(1, rows / tile_rows); shape.tiles_per_group > 0;
       shape.tiles_per_group /= 2) {
    shape.most_rows = shapes_->rows(static_cast<int32_t>(shape.tiles_per_group * tile_rows));
    if (lay_out(call, &shape)) return shape;
  }
  report->note = device_->capabilities().name + " takes no tile of " + std::to_string(tile_rows) +
                 " rows, head dim " + std::to_string(call.key.dim) + " and " +
                 std::to_string(keys) + " keys";
  return std::nullopt;
}

bool DevicePilot::lay_out(const AttentionCall& call, DeviceShape* shape) const {
  const DeviceCapabilities& limits = device_->capabilities();
  const auto dim = static_cast<int32_t>(call.key.dim);
  const std::vector<KeyTile> tiles =
      shapes_->key_tiles(shape->keys.end - shape->keys.begin, shape->most_rows, dim);
  if (tiles.empty()) return false;
  DeviceLayout& layout = shape->layout;
  layout.first_key = shape->keys.begin;
  layout.padded_keys = tiles.back().first + tiles.back().bucket;
  layout.head_bytes = align(layout.padded_keys * dim);
  // At most half of the device's memory for keys: the slots need some, too.
  shape->heads_at_once = std::clamp<int64_t>(
      std::min(kKeysBytes, limits.max_memory_bytes / 2) / layout.head_bytes, 1, call.key.heads);
  layout.slots_offset = shape->heads_at_once * layout.head_bytes;

  const auto heads = static_cast<int32_t>(
      options_.fuse_heads > 0 ? std::min<int64_t>(options_.fuse_heads, shape->heads_at_once)
                              : shape->heads_at_once);
  shape->fuse = heads;
  int64_t slot_head = align(int64_t{shape->most_rows} * dim);
  for (const KeyTile& tile : tiles) {
    shape->fuse =
        std::min(shape->fuse, shapes_->fused_heads(heads, shape->most_rows, tile.bucket, dim));
    slot_head += align(int64_t{shape->most_rows} * tile.bucket);
  }
  const int64_t left = limits.max_memory_bytes - layout.slots_offset;
  // A launch is asked for while the device remembers it; each may come with a compilation.
  const int64_t remembered =
      std::max(limits.queue_depth, int32_t{1}) * int64_t{4} / (2 * std::ssize(tiles));
  if (left < slot_head || remembered < 1) return false;
  const int64_t slots_bytes = std::min(kSlotsBytes, left);
  shape->fuse = static_cast<int32_t>(
      std::clamp<int64_t>(slots_bytes / (2 * slot_head), 1, std::max(shape->fuse, 1)));
  layout.slot_bytes = shape->fuse * slot_head;
  const int64_t wanted = options_.pipeline == PipelineMode::kOff
                             ? 1
                             : std::clamp<int64_t>(slots_bytes / layout.slot_bytes, 2, kMostSlots);
  layout.slots = static_cast<int32_t>(std::min({wanted, left / layout.slot_bytes, remembered}));
  return true;
}

ScaleChoices DevicePilot::choices_for(const CallContext& context) const {
  if (context.options.profile == nullptr) return choices_;
  const LayerProfile* layer = find_layer(*context.options.profile, context.call);
  if (layer == nullptr) return choices_;
  DeviceOptions options = options_;  // what the user asked for comes first
  if (options.query_scales.empty()) options.query_scales = layer->query_scales;
  if (options.key_scales.empty()) options.key_scales = layer->key_scales;
  return ScaleChoices::from(options);
}

std::vector<HeadBucket> DevicePilot::prepare(const CallContext& context, const DeviceShape& shape,
                                             int64_t first_head, int64_t heads, Executor& executor,
                                             DeviceReport* report) {
  const Timer timer;
  const AttentionCall& call = context.call;
  std::vector<HeadBucket> buckets(static_cast<size_t>(call.key.heads));
  const ScaleChoices choices = choices_for(context);
  operands_.resize(static_cast<size_t>(executor.threads()));
  for (DeviceOperands& operands : operands_) operands.reserve(call, context.kernels.pilot_dot);
  executor.run(heads, [&](int64_t index, int thread) {
    const int64_t kv_head = first_head + index;
    if (context.heads[static_cast<size_t>(kv_head)].lists.dense) {
      buckets[static_cast<size_t>(kv_head)].use = HeadUse::kLeftToCpu;
      return;
    }
    const TraceSpan span(context.trace, {.stage = TraceStage::kPrepare,
                                         .lane = thread,
                                         .kv_head = static_cast<int32_t>(kv_head),
                                         .rows = call.query.rows});
    buckets[static_cast<size_t>(kv_head)] = operands_[static_cast<size_t>(thread)].prepare_keys(
        call, options_, choices, kv_head, shape.keys, shape.layout.padded_keys,
        context.kernels.quantize, context.kernels.pilot_dot,
        reinterpret_cast<int8_t*>(device_->memory() + index * shape.layout.head_bytes));
  });
  for (int64_t h = first_head; h < first_head + heads; ++h) {
    const HeadBucket& bucket = buckets[static_cast<size_t>(h)];
    if (bucket.use == HeadUse::kOutOfGrid) ++report->out_of_grid_heads;
    if (bucket.use != HeadUse::kDevice) continue;
    report->clipped_keys += bucket.clipped_keys;
    report->key_elements += (shape.keys.end - shape.keys.begin) * call.key.dim;
  }
  report->prepare_ns += timer.ns();
  return buckets;
}

std::vector<int32_t> DevicePilot::order_groups(const CallContext& context, const DeviceShape& shape,
                                               const std::vector<LaunchGroup>& groups,
                                               int cpu_threads, DeviceReport* report) const {
  const Timer timer;
  std::vector<PipelineJob> jobs;
  const auto dim = static_cast<int32_t>(context.call.key.dim);
  for (const LaunchGroup& group : groups) {
    PipelineJob job;
    job.heads = static_cast<int>(group.kv_heads.size());
    for (const KeyTile& tile : group.key_tiles) {
      job.device_ns +=
          times_.device_ns({job.heads, group.row_bucket, tile.bucket, dim, group.requantisation});
    }
    int64_t pairs = 0;
    int64_t kept = 0;
    const int64_t head = group.kv_heads.front() * shape.group_heads;
    for (int64_t i = group.rows.first; i < group.rows.first + group.rows.count; ++i) {
      const int64_t visible = context.visibility.row(head, i).visible;
      pairs += visible;
      kept += expected_kept(context.budget(group.kv_heads.front()), visible);
    }
    job.cpu_ns = job.heads * times_.cpu_ns(pairs * shape.group_heads, kept * shape.group_heads);
    jobs.push_back(job);
  }
  std::vector<int32_t> order;
  if (options_.pipeline == PipelineMode::kPlanned && times_.measured()) {
    order = plan_order(jobs, shape.layout.slots, cpu_threads);
  } else {
    for (size_t i = 0; i < groups.size(); ++i) order.push_back(static_cast<int32_t>(i));
  }
  report->plan_ns += timer.ns();
  return order;
}

void DevicePilot::run_groups(const CallContext& context, const DeviceLayout& layout,
                             const std::vector<HeadBucket>& buckets,
                             const std::vector<LaunchGroup>& groups,
                             const std::vector<int32_t>& order, Executor& executor,
                             const AttendTile& attend, std::vector<uint8_t>& done,
                             DeviceReport* report) {
  const Timer timer;
  const AttentionCall& call = context.call;
  const int64_t kv_heads = call.key.heads;
  const std::chrono::milliseconds timeout = options_.timeout_ms > 0
                                                ? std::chrono::milliseconds(options_.timeout_ms)
                                                : device_->capabilities().timeout;
  LaunchQueue queue({context, *device_, *bank_, times_, layout, buckets, timeout, calls_ << 20},
                    groups, order);
  int64_t jobs = 0;
  for (const LaunchGroup& group : groups) jobs += static_cast<int64_t>(group.kv_heads.size());
  std::atomic<int64_t> rows{0};
  executor.run(jobs, [&](int64_t, int thread) {
    const std::optional<LaunchQueue::Job> job = queue.next(thread);
    if (!job) return;
    TileCost cost;
    const LaunchGroup& group = *job->group;
    int64_t pairs = 0;
    for (int64_t t = group.first_tile; t < group.first_tile + group.tiles; ++t) {
      const QueryTile& tile = context.plan.tiles[static_cast<size_t>(t)];
      const bool all = keeps_everything(context, tile, job->kv_head);
      const TileCost of_tile = attend({tile, job->kv_head, all ? nullptr : &job->scores}, thread);
      cost.kept_pairs += of_tile.kept_pairs;
      cost.select_ns += of_tile.select_ns;
      cost.attend_ns += of_tile.attend_ns;
      if (!all) rows.fetch_add(tile.rows.count, std::memory_order_relaxed);
      pairs += tile.rows.count * job->scores.heads *
               context.visibility.row(job->scores.first_head, tile.rows.first).visible;
      done[static_cast<size_t>(t * kv_heads + job->kv_head)] = 1;
    }
    queue.observe_cpu(pairs, cost.kept_pairs, cost.select_ns, cost.attend_ns);
    queue.done(*job);
  });
  queue.drain();
  report->span_ns += timer.ns();
  report->rows += rows.load();
  add_counters(queue.report(), report);
  if (queue.status().ok()) return;
  if (queue.wrong()) {
    std::fill(done.begin(), done.end(), uint8_t{0});
    report->rows = 0;
  }
  lose(queue.status(), report);
}

void DevicePilot::run(const CallContext& context, Executor& executor, const AttendTile& attend,
                      std::vector<uint8_t>& done, DeviceReport* report) {
  ++calls_;
  if (!start()) {
    report->note = lost_;
    return;
  }
  const std::optional<DeviceShape> shape = shape_call(context, report);
  if (!shape) return;
  const int64_t bytes = shape->layout.slots_offset + shape->layout.slots * shape->layout.slot_bytes;
  if (const Status status = device_->reserve(bytes); !status.ok()) {
    lose(status, report);
    return;
  }
  const GraphBankCounters before = bank_->counters();
  const int64_t simulated = device_->simulation_cpu_ns();
  const int64_t late = device_->late_launches();
  for (int64_t head = 0; head < context.call.key.heads && device_ != nullptr;
       head += shape->heads_at_once) {
    const int64_t heads = std::min(shape->heads_at_once, context.call.key.heads - head);
    const std::vector<HeadBucket> buckets = prepare(context, *shape, head, heads, executor, report);
    const std::vector<LaunchGroup> groups =
        make_launch_groups(context, *shapes_, *shape, buckets, head, heads);
    if (groups.empty()) continue;
    const std::vector<int32_t> order =
        order_groups(context, *shape, groups, executor.threads(), report);
    DeviceLayout layout = shape->layout;
    layout.first_kv_head = head;
    run_groups(context, layout, buckets, groups, order, executor, attend, done, report);
  }
  if (device_ == nullptr) return;
  report->compiled_graphs = bank_->counters().compiled - before.compiled;
  report->released_graphs = bank_->counters().released - before.released;
  report->simulation_cpu_ns = device_->simulation_cpu_ns() - simulated;
  report->late_launches = device_->late_launches() - late;
}

void DevicePilot::judge(int64_t wall_ns, double dense_ns, DeviceReport* report) {
  constexpr uint64_t kWarmUp = 2;      // calls: graphs are compiled, memory is touched
  constexpr double kHopeless = 100.0;  // not even worth a warm-up
  constexpr int kPatience = 3;         // calls: others may have used the machine
  if (device_ == nullptr || dense_ns <= 0.0) return;
  const double ratio = static_cast<double>(wall_ns) / dense_ns;
  const bool counts = calls_ > kWarmUp || ratio > kHopeless;
  slow_calls_ = counts && ratio > 1.0 ? slow_calls_ + 1 : 0;
  if (slow_calls_ < kPatience && !(slow_calls_ > 0 && ratio > kHopeless)) return;
  lose({StatusCode::kDeviceFailed,
        "calls take longer with it than dense attention would (gate=off keeps it)"},
       report);
}

int64_t DevicePilot::scratch_bytes() const {
  int64_t sum = 0;
  for (const DeviceOperands& operands : operands_) sum += operands.scratch_bytes();
  return sum;
}

}  // namespace shadowattn
