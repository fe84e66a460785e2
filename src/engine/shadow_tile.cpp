#include "engine/shadow_tile.h"

#include <algorithm>
#include <chrono>

#include "kernels/family.h"

namespace shadowattn {
namespace {

/// Adds the time since the last lap to a counter.
class Stopwatch {
 public:
  void lap(int64_t* counter) {
    const auto now = std::chrono::steady_clock::now();
    *counter += std::chrono::duration_cast<std::chrono::nanoseconds>(now - last_).count();
    last_ = now;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace

KernelSet choose_kernels(CpuFeatures features) {
  return {best_kernel(quantize_kernels(), features), best_kernel(pilot_dot_kernels(), features),
          best_kernel(select_kernels(), features), best_kernel(attend_kernels(), features)};
}

void TileWorker::reserve(const CallContext& context) {
  const AttentionCall& call = context.call;
  int64_t rows = 0;
  for (const QueryTile& tile : context.plan.tiles) rows = std::max(rows, tile.rows.count);
  rows *= call.query.heads / call.key.heads;
  attender_.reserve(rows, call.query.dim, call.value.dim, context.kernels.attend);
  lists_.reserve(static_cast<size_t>(rows));
  if (context.plan.dense()) return;
  const int64_t keys = context.keys.end() - context.keys.begin();
  estimate_.reserve(rows, call.query.dim, keys, context.kernels.pilot_dot);
  selector_.reserve(keys);
}

void TileWorker::make_lists(const CallContext& context, const QueryTile& tile, int64_t kv_head) {
  const int64_t group_heads = context.call.query.heads / context.call.key.heads;
  const int64_t first_head = kv_head * group_heads;
  lists_.clear();
  for (const RowRange& rows : tile.groups) {
    if (context.options.share_heads) {
      lists_.push_back({rows, first_head, group_heads});
      continue;
    }
    for (int64_t h = 0; h < group_heads; ++h) lists_.push_back({rows, first_head + h, 1});
  }
}

bool TileWorker::wants_everything(const CallContext& context) const {
  int64_t visible = 0;
  for (const ListRows& list : lists_) {
    for (int64_t i = 0; i < list.count(); ++i) {
      visible =
          std::max<int64_t>(visible, context.visibility.row(list.head(i), list.row(i)).visible);
    }
  }
  return keep_count(context.options, visible) >= visible;
}

void TileWorker::run_dense(const CallContext& context, const QueryTile& tile, int64_t kv_head) {
  const int64_t group_heads = context.call.query.heads / context.call.key.heads;
  const ListRows rows{tile.rows, kv_head * group_heads, group_heads};
  Stopwatch watch;
  counters.kept_pairs +=
      attender_.attend_all(context.call, context.visibility, kv_head, rows, context.kernels.attend);
  watch.lap(&counters.attend_ns);
}

void TileWorker::run(const CallContext& context, const QueryTile& tile, int64_t kv_head) {
  if (context.plan.dense()) {
    run_dense(context, tile, kv_head);
    return;
  }
  make_lists(context, tile, kv_head);
  if (wants_everything(context)) {  // the first tiles of a prompt
    run_dense(context, tile, kv_head);
    return;
  }
  const KernelSet& kernels = context.kernels;
  Stopwatch watch;
  const bool finite = estimate_.estimate(context.call, context.keys, context.visibility, kv_head,
                                         lists_, kernels.quantize, kernels.pilot_dot);
  watch.lap(&counters.pilot_ns);
  if (!finite) {
    counters.nonfinite_rows += tile.rows.count;
    run_dense(context, tile, kv_head);
    return;
  }
  int64_t first_row = 0;
  for (const ListRows& list : lists_) {
    const TokenList tokens = selector_.select(context.options, context.visibility, list, first_row,
                                              context.keys, estimate_, kernels.select);
    watch.lap(&counters.select_ns);
    counters.kept_pairs +=
        attender_.attend(context.call, context.visibility, kv_head, list, tokens, kernels.attend);
    watch.lap(&counters.attend_ns);
    first_row += list.count();
  }
  counters.lists += static_cast<int64_t>(lists_.size());
}

}  // namespace shadowattn
