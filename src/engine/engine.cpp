#include "shadowattn/engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attend/row_state.h"
#include "baselines/baselines.h"
#include "device/device_pilot.h"
#include "engine/call_checks.h"
#include "engine/error_lists.h"
#include "engine/list_chooser.h"
#include "engine/mask_memory.h"
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
        error_lists_(options_),
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
  /// One tile of one KV head.
  struct Task {
    const CallPlan* plan;
    const QueryTile* tile;
    int64_t kv_head;
  };
  /// Of KV heads that do not have the call's plan.
  struct HeadPlans {
    CallPlan dense;
    std::vector<CallPlan> own;  ///< [KV heads]
  };

  /// What the rows of a call may see: as read before for a mask of the same id, else read now.
  const Visibility& read_mask(const AttentionCall& call);
  void run_dense(const CallContext& context);
  /// A dense call with few rows, its keys cut into parts.
  void run_parts(const CallContext& context);
  /// A call some of whose heads have lists: keys, choice of the lists, then all tiles of all heads
  /// in one loop.
  void run_shadow(CallContext& context, std::vector<HeadLists>& heads, CallReport* report);
  /// Lets the device do what it can: [tiles · KV heads], 1 where it did.
  std::vector<uint8_t> run_device(const CallContext& context, CallReport* report);
  /// Quantises the keys of KV heads for the estimate. Adds to report->pilot_ns.
  void build_keys(const CallContext& context, const std::vector<int64_t>& kv_heads,
                  std::vector<HeadLists>& heads, CallReport* report);
  void choose_lists(const CallContext& context, const std::vector<int64_t>& kv_heads,
                    std::vector<HeadLists>& heads);
  CallPlan plan_dense(const CallContext& context) const;
  /// The plan of a KV head: dense, its own lists (`own_lists`: it may have such), or the call's.
  const CallPlan& plan_head(const CallContext& context, int64_t kv_head, bool own_lists,
                            HeadPlans& plans) const;
  /// Adds the tiles of a KV head that the device has not done. Returns how many of their rows need
  /// an estimate.
  int64_t add_tasks(const CallContext& context, const CallPlan& plan, int64_t kv_head,
                    const std::vector<uint8_t>& done, std::vector<Task>& tasks) const;
  void sum_up(const AttentionCall& call, const Visibility& visibility, CallReport* report) const;
  void judge_device(const AttentionCall& call, const Visibility& visibility, int64_t dense_rows,
                    CallReport* report);

  /// Query rows of a dense tile.
  int64_t dense_rows(const AttentionCall& call) const {
    return std::max<int64_t>(1, dense_target() / (call.query.heads / call.key.heads));
  }
  int64_t dense_target() const {
    return kernels_.attend16 != nullptr ? kWideTileTarget : kTileTarget;
  }

  EngineOptions options_;
  CpuFeatures features_;
  KernelSet kernels_;
  ListChooser chooser_;
  ErrorLists error_lists_;
  std::unique_ptr<Executor> owned_executor_;
  Executor* executor_;
  std::vector<TileWorker> workers_;
  MaskMemory masks_;
  KeyEstimates keys_;
  ScratchBuffer<float> states_;                // of a dense call whose keys are cut into parts
  std::unique_ptr<DevicePilot> device_pilot_;  // null: the CPU estimates
  std::unique_ptr<Baselines> baselines_;       // null: dense or shadow
  Trace* trace_ = nullptr;
};

const Visibility& Engine::Impl::read_mask(const AttentionCall& call) {
  const TraceSpan span(trace_, {.stage = TraceStage::kPrepare, .rows = call.query.rows},
                       executor_->threads());
  return masks_.read(call, *executor_);
}

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

void Engine::Impl::build_keys(const CallContext& context, const std::vector<int64_t>& kv_heads,
                              std::vector<HeadLists>& heads, CallReport* report) {
  if (kv_heads.empty()) return;
  const auto started = std::chrono::steady_clock::now();
  const TraceSpan span(context.trace,
                       {.stage = TraceStage::kPrepare, .rows = context.call.query.rows},
                       executor_->threads());
  keys_.build(context.call, kv_heads, {context.visibility.begin(), context.visibility.end()},
              kernels_.quantize, kernels_.pilot_dot, *executor_);
  for (const int64_t kv_head : kv_heads) {
    heads[static_cast<size_t>(kv_head)].keys_finite = keys_.head(kv_head).finite();
  }
  report->pilot_ns += nanoseconds_since(started);
}

void Engine::Impl::choose_lists(const CallContext& context, const std::vector<int64_t>& kv_heads,
                                std::vector<HeadLists>& heads) {
  if (kv_heads.empty()) return;
  const int64_t dense_rows = this->dense_rows(context.call);
  chooser_.prepare(context.call);
  std::vector<std::optional<ListChooser::Choice>> choices(kv_heads.size());
  std::atomic<bool> out_of_memory{false};
  executor_->run(std::ssize(kv_heads), [&](int64_t index, int thread) {
    try {
      choices[static_cast<size_t>(index)] =
          chooser_.choose(context, kv_heads[static_cast<size_t>(index)], dense_rows,
                          workers_[static_cast<size_t>(thread)]);
    } catch (const std::bad_alloc&) {  // tasks do not throw
      out_of_memory.store(true, std::memory_order_relaxed);
    }
  });
  if (out_of_memory.load()) throw std::bad_alloc();
  for (size_t i = 0; i < kv_heads.size(); ++i) {
    if (!choices[i]) continue;
    heads[static_cast<size_t>(kv_heads[i])].lists = choices[i]->lists;
    chooser_.remember(context.call, context.visibility, kv_heads[i], *choices[i]);
  }
}

std::vector<uint8_t> Engine::Impl::run_device(const CallContext& context, CallReport* report) {
  for (TileWorker& worker : workers_) worker.reserve(context);
  std::vector<uint8_t> done(context.plan.tiles.size() * context.heads.size());
  const AttendTile attend = [&](const EstimatedTile& work, int thread) {
    TileWorker& worker = workers_[static_cast<size_t>(thread)];
    const TileCounters before = worker.counters;
    if (work.scores == nullptr) {
      worker.run_dense(context, work.tile, work.kv_head);
    } else {
      worker.run_estimated(context, work.tile, work.kv_head, *work.scores);
    }
    return TileCost{worker.counters.kept_pairs - before.kept_pairs,
                    worker.counters.select_ns - before.select_ns,
                    worker.counters.attend_ns - before.attend_ns};
  };
  device_pilot_->run(context, *executor_, attend, done, &report->device);
  // Estimates that were not to be trusted are thrown away, and so is what was counted with them.
  if (std::find(done.begin(), done.end(), uint8_t{1}) == done.end()) {
    for (TileWorker& worker : workers_) worker.forget();
  }
  return done;
}

CallPlan Engine::Impl::plan_dense(const CallContext& context) const {
  const AttentionCall& call = context.call;
  CallPlan plan;
  plan.dense_reason = DenseReason::kFaster;
  plan.tiles = dense_tiles(context.visibility, call.query.heads / call.key.heads, dense_rows(call));
  return plan;
}

const CallPlan& Engine::Impl::plan_head(const CallContext& context, int64_t kv_head, bool own_lists,
                                        HeadPlans& plans) const {
  const HeadLists& head = context.heads[static_cast<size_t>(kv_head)];
  if (head.lists.dense) return plans.dense;
  // The call's plan is for the lists of the options, and for all that a device does.
  if (!own_lists || head.lists == chooser_.wanted()) return context.plan;
  CallPlan& own = plans.own[static_cast<size_t>(kv_head)];
  own = plan_lists(head.lists, head.budget.by_mass(), context.visibility,
                   context.call.query.heads / context.call.key.heads);
  return own;
}

int64_t Engine::Impl::add_tasks(const CallContext& context, const CallPlan& plan, int64_t kv_head,
                                const std::vector<uint8_t>& done, std::vector<Task>& tasks) const {
  int64_t estimated_rows = 0;
  const size_t kv_heads = context.heads.size();
  // Head after head, for the INT8 keys of one may fit a cache; last rows first: under a causal mask
  // they are the longest, and a long task at the end would leave the other threads idle.
  for (size_t i = plan.tiles.size(); i-- > 0;) {
    const QueryTile& tile = plan.tiles[i];
    const size_t at = i * kv_heads + static_cast<size_t>(kv_head);
    if (!plan.dense() && !done.empty() && done[at] != 0) continue;
    tasks.push_back({&plan, &tile, kv_head});
    if (!plan.dense() && !keeps_everything(context, tile, kv_head)) {
      estimated_rows += tile.rows.count;
    }
  }
  return estimated_rows;
}

void Engine::Impl::run_shadow(CallContext& context, std::vector<HeadLists>& heads,
                              CallReport* report) {
  const auto kv_heads = static_cast<int64_t>(heads.size());
  context.heads = heads;
  std::vector<uint8_t> done;
  std::vector<int64_t> open;
  if (context.on_device) {
    done = run_device(context, report);
  } else {
    for (int64_t h = 0; h < kv_heads; ++h) {
      if (heads[static_cast<size_t>(h)].open) open.push_back(h);
    }
    build_keys(context, open, heads, report);
    std::erase_if(open, [&](int64_t h) { return !heads[static_cast<size_t>(h)].keys_finite; });
    choose_lists(context, open, heads);
  }

  HeadPlans plans{{}, std::vector<CallPlan>(heads.size())};
  const bool any_dense =
      std::ranges::any_of(heads, [](const HeadLists& head) { return head.lists.dense; });
  if (any_dense) plans.dense = plan_dense(context);
  std::vector<int64_t> without_keys;
  std::vector<Task> tasks;
  for (int64_t h = 0; h < kv_heads; ++h) {
    const CallPlan& plan = plan_head(context, h, done.empty(), plans);
    if (plan.dense()) report->dense_rows += context.call.query.rows;
    for (TileWorker& worker : workers_) worker.reserve(context.with(plan));
    const int64_t estimates = add_tasks(context, plan, h, done, tasks);
    if (!done.empty()) report->device.cpu_rows += estimates;
    const bool built = heads[static_cast<size_t>(h)].open && !context.on_device;
    if (estimates > 0 && !built) without_keys.push_back(h);
  }
  build_keys(context, without_keys, heads, report);

  executor_->run(std::ssize(tasks), [&](int64_t index, int thread) {
    const Task& task = tasks[static_cast<size_t>(index)];
    TileWorker& worker = workers_[static_cast<size_t>(thread)];
    const CallContext with_plan = context.with(*task.plan);
    task.plan->dense() ? worker.run_dense(with_plan, *task.tile, task.kv_head)
                       : worker.run(with_plan, *task.tile, task.kv_head);
  });
}

void Engine::Impl::sum_up(const AttentionCall& call, const Visibility& visibility,
                          CallReport* report) const {
  report->rows = call.query.rows;
  report->heads = call.query.heads;
  report->keys = call.key.rows;
  report->visible_pairs = sum_visible(visibility, call.query.heads);
  report->scratch_bytes = keys_.scratch_bytes() + states_.bytes() + error_lists_.scratch_bytes();
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
  const Visibility& visibility = read_mask(call);
  if (baselines_ != nullptr) {
    CallReport done = baselines_->attend(call, visibility, *executor_);
    done.wall_ns = nanoseconds_since(started);
    if (report != nullptr) *report = std::move(done);
    return;
  }
  const int64_t dense_rows = this->dense_rows(call);
  CallPlan plan = plan_call(options_, visibility, group_heads, dense_target());
  const bool by_error = device_pilot_ == nullptr && ErrorLists::takes(options_, call, visibility);
  std::vector<HeadLists> heads;
  if (by_error && !plan.dense() && !error_lists_.pays(call, visibility)) {
    plan = {};
    plan.dense_reason = DenseReason::kFaster;
    plan.tiles = dense_tiles(visibility, group_heads, dense_rows);
  } else if (!by_error && !plan.dense()) {
    heads = chooser_.start(call, visibility, dense_rows);
    if (all_dense(heads)) {
      plan = {};
      plan.dense_reason = DenseReason::kFaster;
      plan.tiles = dense_tiles(visibility, group_heads, dense_rows);
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
    if (by_error) error_lists_.learn_dense(call);
  } else if (by_error) {
    error_lists_.run(context, keys_, workers_, *executor_, &done);
  } else {
    run_shadow(context, heads, &done);
  }
  done.wall_ns = nanoseconds_since(started);
  done.dense_reason = plan.dense_reason;
  sum_up(call, visibility, &done);
  if (by_error && !plan.dense() && done.lists == 0) {
    const bool nonfinite = done.nonfinite_rows == call.query.rows * call.key.heads;
    done.dense_reason = nonfinite ? DenseReason::kNonFinite : DenseReason::kFaster;
  }
  if (plan.dense() || by_error) {
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
