#include "engine/error_lists.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace shadowattn {
namespace {

/// Rows of a list: as good a matrix product as any, and one decode step is not worth an estimate.
constexpr int64_t kListRows = 32;
constexpr int64_t kFewestRows = 16;
/// Lists that keep as little as this are as good as they get.
constexpr double kLeastKept = 0.02;
/// Lists must promise a gain that is worth the model's own error.
constexpr double kGain = 0.97;

/// Whether what was seen at `before` visible keys says nothing of a call with `now`.
bool is_stale(int64_t before, int64_t now) {
  return before == 0 || 2 * now > 3 * before || 2 * now < before;
}

}  // namespace

bool ErrorLists::takes(const EngineOptions& options, const AttentionCall& call,
                       const Visibility& visibility) {
  return options.mode == Mode::kShadow && options.output_error > 0.0 &&
         options.profile == nullptr && call.logit_softcap == 0.0F && !visibility.any_biased();
}

ErrorLists::LayerMemory& ErrorLists::memory(const AttentionCall& call) {
  constexpr int32_t kNoLayer = -1;
  constexpr int32_t kMostLayers = 4096;
  const int32_t layer = call.layer >= 0 && call.layer < kMostLayers ? call.layer : kNoLayer;
  LayerMemory& memory = layers_[layer];
  const auto heads = static_cast<size_t>(call.query.heads);
  if (layer == kNoLayer || memory.heads.size() != heads) {
    memory = {};
    memory.heads.resize(heads);
  }
  return memory;
}

const CostModel* ErrorLists::costs(const AttentionCall& call) {
  const CostShape shape{call.key.dim, call.value.dim, call.query.heads / call.key.heads,
                        call.key.type, call.value.type};
  for (const KnownCosts& known : costs_) {
    if (known.heads == shape) return &known.model;
  }
  const Result<CostModel> model = measure_error_costs(options_, shape, kListRows);
  if (!model.ok()) return nullptr;
  costs_.push_back({shape, model.value()});
  return &costs_.back().model;
}

bool ErrorLists::head_pays(const CostModel& model, double kept, int64_t rows,
                           int64_t group_heads) const {
  const double lists = static_cast<double>((rows + kListRows - 1) / kListRows);
  const double dense = model.dense_pair * static_cast<double>(rows) + model.dense_key * lists;
  const double sparse = model.shadow_key / static_cast<double>(group_heads) +
                        lists * (model.list_key + kept * model.list_kept);
  return sparse < kGain * dense;
}

bool ErrorLists::pays(const AttentionCall& call, const Visibility& visibility) {
  if (!options_.gate) return true;
  if (call.query.rows < kFewestRows) return false;
  const CostModel* model = costs(call);
  if (model == nullptr) return true;  // the caller asked for shadow attention
  const int64_t group_heads = call.query.heads / call.key.heads;
  for (const HeadMemory& head : memory(call).heads) {
    const bool stale = is_stale(head.looked_at, visibility.max_visible());
    if (head_pays(*model, stale ? kLeastKept : head.kept, call.query.rows, group_heads))
      return true;
  }
  return false;
}

void ErrorLists::plan(const CallContext& context, const LayerMemory& memory,
                      const CostModel* model) {
  const AttentionCall& call = context.call;
  const int64_t group_heads = call.query.heads / call.key.heads;
  const std::vector<RowRange> groups =
      list_groups(context.visibility, kListRows, {0, call.query.rows});
  tasks_.clear();
  // Head after head, for the INT8 keys of a KV head may fit a cache; last rows first: under a
  // causal mask they are the longest, and a long task at the end would leave the other threads
  // idle.
  for (int64_t head = 0; head < call.query.heads; ++head) {
    const HeadMemory& known = memory.heads[static_cast<size_t>(head)];
    const bool stale = is_stale(known.looked_at, context.visibility.max_visible());
    const bool dense = model != nullptr && known.looked_at != 0 &&
                       !head_pays(*model, known.kept, call.query.rows, group_heads);
    for (size_t i = groups.size(); i-- > 0;) {
      // A head that was dense is looked at again when the context has grown: by its last list.
      const bool look = stale && i + 1 == groups.size();
      tasks_.push_back({{groups[i], head, 1}, dense && !look, false});
    }
  }
  results_.assign(tasks_.size(), ErrorTile());
}

void ErrorLists::run_tasks(const CallContext& context, const ErrorCall* error,
                           std::vector<TileWorker>& workers, Executor& executor) {
  executor.run(std::ssize(tasks_), [&](int64_t index, int thread) {
    const Task& task = tasks_[static_cast<size_t>(index)];
    if (task.done || (error == nullptr && !task.dense)) return;
    TileWorker& worker = workers[static_cast<size_t>(thread)];
    results_[static_cast<size_t>(index)] = task.dense
                                               ? worker.run_error_dense(context, task.list)
                                               : worker.run_error(context, *error, task.list);
  });
  for (Task& task : tasks_) task.done = task.done || error != nullptr || task.dense;
}

void ErrorLists::find_energy(const CallContext& context, LayerMemory& memory,
                             std::vector<TileWorker>& workers, Executor& executor) {
  const int64_t last = context.call.query.rows;
  std::vector<bool> was_dense;
  for (Task& task : tasks_) {
    was_dense.push_back(task.dense);
    task.dense = task.list.rows.first + task.list.rows.count == last;
  }
  run_tasks(context, nullptr, workers, executor);
  double energy = 0.0;
  int64_t rows = 0;
  for (size_t i = 0; i < tasks_.size(); ++i) {
    if (tasks_[i].done) {
      energy += results_[i].energy;
      rows += results_[i].rows;
    } else {
      tasks_[i].dense = was_dense[i];
    }
  }
  // Without any nothing is left out.
  memory.energy = rows > 0 && std::isfinite(energy) ? energy / static_cast<double>(rows) : 0.0;
}

void ErrorLists::run(const CallContext& context, KeyEstimates& keys,
                     std::vector<TileWorker>& workers, Executor& executor, CallReport* report) {
  const AttentionCall& call = context.call;
  const KeyRange range{context.visibility.begin(), context.visibility.end()};
  const auto started = std::chrono::steady_clock::now();
  LayerMemory& memory = this->memory(call);
  const CostModel* model = options_.gate ? costs(call) : nullptr;
  plan(context, memory, model);
  for (TileWorker& worker : workers) worker.reserve_error(context, kListRows);
  std::vector<int64_t> kv_heads;
  for (int64_t h = 0; h < call.key.heads; ++h) kv_heads.push_back(h);
  const KernelSet& kernels = context.kernels;
  keys.build_for_shares(call, range, kernels.pilot_dot, kernels.attend, kernels.project, executor);
  values_.build(call, range, kernels.keep, executor);
  report->pilot_ns += std::chrono::duration_cast<std::chrono::nanoseconds>(
                          std::chrono::steady_clock::now() - started)
                          .count();
  const bool any_finite =
      std::ranges::any_of(kv_heads, [&](int64_t h) { return keys.head(h).finite(); });
  if (!(memory.energy > 0.0) && any_finite) find_energy(context, memory, workers, executor);
  ErrorCall error{values_, options_.output_error, memory.energy, kNearlyAll};
  if (model != nullptr && model->list_kept > 0.0) {
    const double dense = model->dense_pair * kListRows + model->dense_key;
    error.dense_share = std::min(kNearlyAll, dense / model->list_kept);
  }
  run_tasks(context, &error, workers, executor);
  sum_up(context, memory, report);
}

void ErrorLists::sum_up(const CallContext& context, LayerMemory& memory, CallReport* report) const {
  double energy = 0.0;
  double change = 0.0;
  int64_t rows = 0;
  int64_t dense_rows = 0;  // × query heads
  std::vector<int64_t> kept(memory.heads.size());
  std::vector<int64_t> seen(memory.heads.size());
  for (size_t i = 0; i < tasks_.size(); ++i) {
    const ErrorTile& tile = results_[i];
    const auto head = static_cast<size_t>(tasks_[i].list.first_head);
    energy += tile.energy;
    rows += tile.rows;
    change += tile.change;
    kept[head] += tile.kept;
    seen[head] += tile.seen;
    if (tasks_[i].dense) dense_rows += tasks_[i].list.count();
  }
  for (size_t head = 0; head < kept.size(); ++head) {
    if (seen[head] == 0) continue;
    memory.heads[head] = {static_cast<double>(kept[head]) / static_cast<double>(seen[head]),
                          context.visibility.max_visible()};
  }
  report->dense_rows += dense_rows / (context.call.query.heads / context.call.key.heads);
  report->predicted_error = energy > 0.0 ? std::sqrt(change / energy) : 0.0;
  if (rows > 0 && std::isfinite(energy)) memory.energy = energy / static_cast<double>(rows);
}

void ErrorLists::learn_dense(const AttentionCall& call) {
  constexpr int64_t kStep = 8;  // rows
  double energy = 0.0;
  int64_t rows = 0;
  for (int64_t head = 0; head < call.query.heads; ++head) {
    for (int64_t row = (call.query.rows - 1) % kStep; row < call.query.rows; row += kStep) {
      const float* out = call.output.row(head, row);
      double sum = 0.0;
      for (int64_t d = 0; d < call.value.dim; ++d) sum += static_cast<double>(out[d]) * out[d];
      if (!std::isfinite(sum)) continue;
      energy += sum;
      ++rows;
    }
  }
  if (rows > 0 && std::isfinite(energy)) memory(call).energy = energy / static_cast<double>(rows);
}

}  // namespace shadowattn
