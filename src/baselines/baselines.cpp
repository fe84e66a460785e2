#include "baselines/baselines.h"

#include <algorithm>
#include <tuple>

#include "baselines/guarded_run.h"
#include "plan/list_plan.h"

namespace shadowattn {
namespace {

/// Whether no row may leave anything out.
bool keeps_everything(const EngineOptions& options, const Visibility& visibility) {
  const int64_t visible = visibility.max_visible();
  if (options.mode == Mode::kNpuInt8) return false;
  if (visible <= options.keep_floor) return true;
  return options.attn_error == 0.0 && keep_count(options, visible) >= visible;
}

}  // namespace

bool is_baseline(Mode mode) { return mode != Mode::kDense && mode != Mode::kShadow; }

Baselines::Baselines(const EngineOptions& options, const BaselineKernels& kernels)
    : options_(options), kernels_(kernels) {}

int64_t Baselines::rows_per_list() const {
  const bool alone = options_.mode == Mode::kOracle || options_.mode == Mode::kWindow;
  return alone ? 1 : options_.rows_per_list;
}

void Baselines::choose_and_attend(const BaselineCall& context, Executor& executor) {
  const AttentionCall& call = context.call;
  const std::vector<QueryTile> tiles =
      list_tiles(context.visibility, rows_per_list(), context.rows);
  const auto count = static_cast<int64_t>(tiles.size());
  if (options_.mode == Mode::kBlock) means_.reserve(call, context.visibility, executor.threads());
  for (int64_t kv_head = 0; kv_head < call.key.heads; ++kv_head) {
    if (options_.mode == Mode::kBlock) {
      means_.compute(call, context.visibility, kv_head, kernels_.attend, executor);
    }
    // Last rows first: under a causal mask they are the longest.
    guarded_run(executor, count, [&](int64_t task, int thread) {
      workers_[static_cast<size_t>(thread)].run(
          context, tiles[static_cast<size_t>(count - 1 - task)], kv_head);
    });
  }
}

CallReport Baselines::attend(const AttentionCall& call, const Visibility& visibility,
                             Executor& executor) {
  const int64_t group_heads = call.query.heads / call.key.heads;
  const int64_t target = std::max<int64_t>(1, kTileTarget / group_heads);
  const int64_t rows = std::max(rows_per_list(), target / rows_per_list() * rows_per_list());
  const BaselineCall context{call, options_, visibility, kernels_, means_, rows};
  workers_.resize(static_cast<size_t>(executor.threads()));
  for (BaselineWorker& worker : workers_) {
    worker.counters = {};
    worker.reserve(context);
  }
  if (options_.mode == Mode::kNpuInt8) {
    int8_.attend(context, executor, workers_);
  } else {
    choose_and_attend(context, executor);
  }
  return sum_up(context);
}

CallReport Baselines::sum_up(const BaselineCall& context) const {
  const AttentionCall& call = context.call;
  CallReport report;
  report.rows = call.query.rows;
  report.heads = call.query.heads;
  report.keys = call.key.rows;
  for (int64_t h = 0; h < call.query.heads; ++h) {
    for (int64_t i = 0; i < call.query.rows; ++i) {
      report.visible_pairs += context.visibility.row(h, i).visible;
    }
  }
  report.scratch_bytes = means_.scratch_bytes() + int8_.scratch_bytes();
  for (const BaselineWorker& worker : workers_) {
    report.lists += worker.counters.lists;
    report.kept_pairs += worker.counters.kept_pairs;
    report.nonfinite_rows += worker.counters.nonfinite_rows;
    report.estimated_lost += worker.counters.estimated_lost;
    report.estimated_rows += worker.counters.estimated_rows;
    report.pilot_ns += worker.counters.pilot_ns;
    report.select_ns += worker.counters.select_ns;
    report.attend_ns += worker.counters.attend_ns;
    report.sample_ns += worker.counters.sample_ns;
    report.samples.insert(report.samples.end(), worker.counters.samples.begin(),
                          worker.counters.samples.end());
    report.scratch_bytes += worker.scratch_bytes();
  }
  std::sort(report.samples.begin(), report.samples.end(),
            [](const RowSample& a, const RowSample& b) {
              return std::tie(a.head, a.row) < std::tie(b.head, b.row);
            });
  if (keeps_everything(context.options, context.visibility)) {
    report.dense_reason = DenseReason::kShort;
  } else if (report.nonfinite_rows == call.query.rows * call.key.heads && report.rows > 0) {
    report.dense_reason = DenseReason::kNonFinite;
  }
  return report;
}

}  // namespace shadowattn
