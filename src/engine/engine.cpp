#include "shadowattn/engine.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attend/row_state.h"
#include "baselines/baselines.h"
#include "engine/call_checks.h"
#include "engine/device_pilot.h"
#include "engine/list_chooser.h"
#include "engine/shadow_tile.h"

namespace shadowattn {
namespace {

constexpr std::string_view kCpuDevice = "cpu";

std::string text(int64_t value) { return std::to_string(value); }

bool all_dense(const std::vector<HeadLists>& heads) {
  return std::all_of(heads.begin(), heads.end(),
                     [](const HeadLists& head) { return head.lists.dense; });
}

int64_t nanoseconds_since(std::chrono::steady_clock::time_point started) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() -
                                                              started)
      .count();
}

int64_t sum_visible(const Visibility& visibility, int64_t heads) {
  int64_t sum = 0;
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t i = 0; i < visibility.query_rows(); ++i) sum += visibility.row(h, i).visible;
  }
  return sum;
}

}  // namespace

class Engine::Impl {
 public:
  Impl(EngineOptions options, CpuFeatures features, Executor* executor,
       std::unique_ptr<Executor> owned, std::unique_ptr<Device> device)
      : options_(std::move(options)),
        features_(features),
        kernels_(choose_kernels(features, options_.precision)),
        chooser_(options_),
        owned_executor_(std::move(owned)),
        executor_(executor != nullptr ? executor : owned_executor_.get()) {
    for (int32_t i = 0; i < executor_->threads(); ++i) workers_.emplace_back(i);
    if (device != nullptr || options_.device.name != kCpuDevice) {
      device_pilot_ = std::make_unique<DevicePilot>(options_.device, std::move(device));
    }
    if (is_baseline(options_.mode)) {
      baselines_ = std::make_unique<Baselines>(
          options_, BaselineKernels{kernels_.attend, kernels_.attend16, kernels_.pilot_dot});
    }
  }

  const EngineOptions& options() const { return options_; }
  CpuFeatures features() const { return features_; }

  void set_trace(Trace* trace) { trace_ = trace; }

  /// Throws std::bad_alloc.
  void attend(const AttentionCall& call, CallReport* report);

 private:
  void attend_shadow(CallContext& context, std::vector<HeadLists>& heads, CallReport* report);
  void run_dense(const CallContext& context);
  /// One KV head of a call.
  void run_dense_head(const CallContext& context, int64_t kv_head);
  /// A dense call with few rows, its keys cut into parts.
  void run_parts(const CallContext& context);
  /// Quantises the keys of a KV head for the estimate. Adds to report->pilot_ns.
  void build_keys(CallContext& context, int64_t kv_head, CallReport* report);
  /// Tiles of a KV head that are not marked in `done` ([tiles · KV heads]; empty: all of them).
  void run_head(const CallContext& context, int64_t kv_head, HeadLists& head,
                const std::vector<uint8_t>& done, CallReport* report);
  void run_tiles(const CallContext& context, const std::vector<const QueryTile*>& tiles,
                 int64_t kv_head);
  void sum_up(const AttentionCall& call, const Visibility& visibility, CallReport* report) const;
  void judge_device(const AttentionCall& call, const Visibility& visibility, int64_t dense_rows,
                    CallReport* report);
  int64_t dense_target() const {
    return kernels_.attend16 != nullptr ? kWideTileTarget : kTileTarget;
  }

  EngineOptions options_;
  CpuFeatures features_;
  KernelSet kernels_;
  ListChooser chooser_;
  std::unique_ptr<Executor> owned_executor_;
  Executor* executor_;
  std::vector<TileWorker> workers_;
  KeyEstimate keys_;
  ScratchBuffer<float> states_;                // of a dense call whose keys are cut into parts
  std::unique_ptr<DevicePilot> device_pilot_;  // null: the CPU estimates
  std::unique_ptr<Baselines> baselines_;       // null: dense or shadow
  Trace* trace_ = nullptr;
};

void Engine::Impl::run_dense(const CallContext& context) {
  const int64_t kv_heads = context.call.key.heads;
  const auto tiles = static_cast<int64_t>(context.plan.tiles.size());
  // Last rows first: under a causal mask they are the longest, and a long task at the end would
  // leave the other threads idle.
  executor_->run(tiles * kv_heads, [&](int64_t task, int thread) {
    workers_[static_cast<size_t>(thread)].run_dense(
        context, context.plan.tiles[static_cast<size_t>(tiles - 1 - task / kv_heads)],
        task % kv_heads);
  });
}

void Engine::Impl::run_parts(const CallContext& context) {
  const AttentionCall& call = context.call;
  const Visibility& visibility = context.visibility;
  const std::vector<QueryTile>& tiles = context.plan.tiles;
  const int64_t parts = context.parts;
  const int64_t group_heads = call.query.heads / call.key.heads;
  int64_t rows = 0;
  for (const QueryTile& tile : tiles) rows = std::max(rows, tile.rows.count);
  const int64_t row_floats = state_floats(call.value.dim);
  const int64_t stride = rows * call.query.heads * row_floats;
  const int64_t part_keys = part_length(visibility.end() - visibility.begin(), parts);
  states_.reserve(static_cast<int64_t>(tiles.size()) * parts * stride);
  const auto count = static_cast<int64_t>(tiles.size());
  executor_->run(count * parts, [&](int64_t index, int thread) {
    const int64_t begin = visibility.begin() + index % parts * part_keys;
    workers_[static_cast<size_t>(thread)].run_part(
        context, tiles[static_cast<size_t>(index / parts)], begin,
        std::min<int64_t>(begin + part_keys, visibility.end()), states_.data() + index * stride);
  });
  executor_->run(count * call.key.heads, [&](int64_t task, int) {
    const RowRange& range = tiles[static_cast<size_t>(task / call.key.heads)].rows;
    const int64_t kv_head = task % call.key.heads;
    const ListRows all{range, kv_head * group_heads, group_heads};
    float* states = states_.data() + task / call.key.heads * parts * stride +
                    kv_head * all.count() * row_floats;
    finish_parts(call, all, states, parts, stride);
  });
}

void Engine::Impl::run_dense_head(const CallContext& context, int64_t kv_head) {
  const auto tiles = static_cast<int64_t>(context.plan.tiles.size());
  for (TileWorker& worker : workers_) worker.reserve(context);
  executor_->run(tiles, [&](int64_t task, int thread) {
    workers_[static_cast<size_t>(thread)].run_dense(
        context, context.plan.tiles[static_cast<size_t>(tiles - 1 - task)], kv_head);
  });
}

void Engine::Impl::build_keys(CallContext& context, int64_t kv_head, CallReport* report) {
  const auto started = std::chrono::steady_clock::now();
  const TraceSpan span(context.trace,
                       {.stage = TraceStage::kPrepare,
                        .kv_head = static_cast<int32_t>(kv_head),
                        .rows = context.call.query.rows},
                       executor_->threads());
  context.keys_finite =
      keys_.build(context.call, kv_head, context.visibility.begin(), context.visibility.end(),
                  kernels_.quantize, kernels_.pilot_dot, *executor_);
  report->pilot_ns += nanoseconds_since(started);
}

void Engine::Impl::run_head(const CallContext& shared, int64_t kv_head, HeadLists& head,
                            const std::vector<uint8_t>& done, CallReport* report) {
  const AttentionCall& call = shared.call;
  const int64_t kv_heads = call.key.heads;
  const int64_t group_heads = call.query.heads / kv_heads;
  const int64_t dense_rows = std::max<int64_t>(1, dense_target() / group_heads);
  CallContext context = shared.with(shared.plan);
  bool built = false;
  if (head.open) {
    build_keys(context, kv_head, report);
    built = true;
    if (context.keys_finite) {
      head.lists = chooser_.choose(context, kv_head, dense_rows, workers_.front());
    }
  }
  if (head.lists.dense) {
    CallPlan plan;
    plan.dense_reason = DenseReason::kFaster;
    plan.tiles = dense_tiles(call.query.rows, dense_rows);
    report->dense_rows += call.query.rows;
    run_dense_head(shared.with(plan), kv_head);
    return;
  }
  // The call's plan is for the lists of the options, and for all that a device does.
  std::optional<CallPlan> own;
  if (done.empty() && head.lists != chooser_.wanted()) {
    own = plan_lists(head.lists, head.budget.by_mass(), shared.visibility, group_heads);
  }
  const CallPlan& plan = own ? *own : shared.plan;
  std::vector<const QueryTile*> left;
  bool estimate = false;
  // Last rows first: under a causal mask they are the longest.
  for (auto tile = static_cast<int64_t>(plan.tiles.size()) - 1; tile >= 0; --tile) {
    if (!done.empty() && done[static_cast<size_t>(tile * kv_heads + kv_head)] != 0) continue;
    left.push_back(&plan.tiles[static_cast<size_t>(tile)]);
    if (keeps_everything(context, *left.back(), kv_head)) continue;
    estimate = true;
    if (!done.empty()) report->device.cpu_rows += left.back()->rows.count;
  }
  if (estimate && !built) build_keys(context, kv_head, report);
  run_tiles(context.with(plan), left, kv_head);
}

void Engine::Impl::run_tiles(const CallContext& context, const std::vector<const QueryTile*>& tiles,
                             int64_t kv_head) {
  for (TileWorker& worker : workers_) worker.reserve(context);
  executor_->run(static_cast<int64_t>(tiles.size()), [&](int64_t task, int thread) {
    workers_[static_cast<size_t>(thread)].run(context, *tiles[static_cast<size_t>(task)], kv_head);
  });
}

void Engine::Impl::attend_shadow(CallContext& context, std::vector<HeadLists>& heads,
                                 CallReport* report) {
  context.heads = heads;
  std::vector<uint8_t> done;
  if (context.on_device) {
    for (HeadLists& head : heads) head.open = false;
    for (TileWorker& worker : workers_) worker.reserve(context);
    done.resize(context.plan.tiles.size() * heads.size());
    device_pilot_->run(context, *executor_, workers_, done, &report->device);
    // Estimates that were not to be trusted are thrown away, and so is what was counted with them.
    if (std::find(done.begin(), done.end(), uint8_t{1}) == done.end()) {
      for (TileWorker& worker : workers_) worker.forget();
    }
  }
  // One KV head after the other: only the keys of one are held as INT8.
  for (size_t kv_head = 0; kv_head < heads.size(); ++kv_head) {
    run_head(context, static_cast<int64_t>(kv_head), heads[kv_head], done, report);
  }
}

void Engine::Impl::sum_up(const AttentionCall& call, const Visibility& visibility,
                          CallReport* report) const {
  report->rows = call.query.rows;
  report->heads = call.query.heads;
  report->keys = call.key.rows;
  report->visible_pairs = sum_visible(visibility, call.query.heads);
  report->scratch_bytes = keys_.scratch_bytes() + states_.bytes();
  if (device_pilot_ != nullptr) report->scratch_bytes += device_pilot_->scratch_bytes();
  for (const TileWorker& worker : workers_) {
    report->lists += worker.counters.lists;
    report->nonfinite_rows += worker.counters.nonfinite_rows;
    report->unpromised_rows += worker.counters.unpromised_rows;
    report->estimated_lost += worker.counters.estimated_lost;
    report->estimated_rows += worker.counters.estimated_rows;
    report->sample_ns += worker.counters.sample_ns;
    report->samples.insert(report->samples.end(), worker.samples.begin(), worker.samples.end());
    report->kept_pairs += worker.counters.kept_pairs;
    report->pilot_ns += worker.counters.pilot_ns;
    report->select_ns += worker.counters.select_ns;
    report->attend_ns += worker.counters.attend_ns;
    report->scratch_bytes += worker.scratch_bytes();
  }
  std::sort(report->samples.begin(), report->samples.end(),
            [](const RowSample& a, const RowSample& b) {
              return std::pair(a.head, a.row) < std::pair(b.head, b.row);
            });
}

void Engine::Impl::judge_device(const AttentionCall& call, const Visibility& visibility,
                                int64_t dense_rows, CallReport* report) {
  const CostModel* model = chooser_.costs(call, chooser_.wanted());
  if (model == nullptr) return;
  const int64_t group_heads = call.query.heads / call.key.heads;
  const PredictedCost cost = predict_cost(*model, options_, visibility, group_heads, dense_rows);
  device_pilot_->judge(report->wall_ns,
                       cost.dense * static_cast<double>(call.key.heads) / executor_->threads(),
                       &report->device);
}

void Engine::Impl::attend(const AttentionCall& call, CallReport* report) {
  const auto started = std::chrono::steady_clock::now();
  const int64_t group_heads = call.query.heads / call.key.heads;
  const Visibility visibility = [&] {
    const TraceSpan span(trace_, {.stage = TraceStage::kPrepare, .rows = call.query.rows},
                         executor_->threads());
    return Visibility(call, *executor_);
  }();
  if (baselines_ != nullptr) {
    CallReport done = baselines_->attend(call, visibility, *executor_);
    done.wall_ns = nanoseconds_since(started);
    if (report != nullptr) *report = std::move(done);
    return;
  }
  const int64_t dense_rows = std::max<int64_t>(1, dense_target() / group_heads);
  CallPlan plan = plan_call(options_, visibility, group_heads, dense_target());
  std::vector<HeadLists> heads;
  if (!plan.dense()) {
    heads = chooser_.start(call, visibility, dense_rows);
    if (all_dense(heads)) {
      plan = {};
      plan.dense_reason = DenseReason::kFaster;
      plan.tiles = dense_tiles(call.query.rows, dense_rows);
    }
  }
  CallContext context{call, options_, kernels_, visibility, plan, keys_};
  context.trace = trace_;
  context.on_device = !plan.dense() && device_pilot_ != nullptr;
  for (TileWorker& worker : workers_) worker.forget();
  CallReport done;
  if (plan.dense()) {
    context.parts = dense_parts(static_cast<int64_t>(plan.tiles.size()) * call.key.heads,
                                visibility.end() - visibility.begin());
    for (TileWorker& worker : workers_) worker.reserve(context);
    context.parts > 1 ? run_parts(context) : run_dense(context);
  } else {
    attend_shadow(context, heads, &done);
  }
  done.wall_ns = nanoseconds_since(started);
  done.dense_reason = plan.dense_reason;
  sum_up(call, visibility, &done);
  if (plan.dense()) {
    if (report != nullptr) *report = std::move(done);
    return;
  }
  chooser_.learn(call, visibility, dense_rows, done);
  if (context.on_device && options_.gate) judge_device(call, visibility, dense_rows, &done);
  if (all_dense(heads)) done.dense_reason = DenseReason::kFaster;
  if (done.nonfinite_rows == call.query.rows * call.key.heads) {
    done.dense_reason = DenseReason::kNonFinite;
  }
  if (report != nullptr) *report = std::move(done);
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

const EngineOptions& Engine::options() const { return impl_->options(); }
void Engine::set_trace(Trace* trace) { impl_->set_trace(trace); }
CpuFeatures Engine::features() const { return impl_->features(); }

Result<Engine> Engine::create(const EngineOptions& options, Executor* executor,
                              std::unique_ptr<Device> device) try {
  if (Status status = check_options(options); !status.ok()) return status;
  Result<CpuFeatures> features = resolve_isa(options.isa);
  if (!features.ok()) return features.status();
  std::unique_ptr<Executor> owned;
  if (executor == nullptr) {
    owned = make_thread_pool(options.threads);
    if (owned == nullptr) {
      return Status(StatusCode::kOutOfMemory,
                    "could not start " + text(options.threads) + " threads");
    }
  }
  return Engine(std::make_unique<Impl>(options, features.value(), executor, std::move(owned),
                                       std::move(device)));
} catch (const std::bad_alloc&) {
  return Status(StatusCode::kOutOfMemory, "out of memory");
}

Status Engine::attend(const AttentionCall& call, CallReport* report) {
  if (Status status = supports(call); !status.ok()) return status;
  if (Status status = check_data(call); !status.ok()) return status;
  try {
    impl_->attend(call, report);
    return {};
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory,
                  "no memory for the scratch of " + text(call.key.rows) + " keys");
  }
}

}  // namespace shadowattn
