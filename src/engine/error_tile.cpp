// TileWorker's work on lists by what a key changes in the output.
#include <algorithm>
#include <cmath>
#include <new>

#include "engine/shadow_tile.h"
#include "engine/stopwatch.h"

namespace shadowattn {
namespace {

/// Far below kKeepAlways times any square that counts.
constexpr double kLargestThreshold = 1e20;
/// Estimates that may be further off than this, in nats, are not to be trusted.
constexpr double kLargestDeviation = 2.0;

/// How squares of outputs are summed up: rows that are not finite are left out.
void add_energy(const AttentionCall& call, const ListRows& list, ErrorTile& tile) {
  for (int64_t i = 0; i < list.count(); ++i) {
    const float* row = call.output.row(list.head(i), list.row(i));
    double sum = 0.0;
    for (int64_t d = 0; d < call.value.dim; ++d) sum += static_cast<double>(row[d]) * row[d];
    if (!std::isfinite(sum)) continue;
    tile.energy += sum;
    ++tile.rows;
  }
}

}  // namespace

void TileWorker::reserve_error(const CallContext& context, int64_t rows) {
  const AttentionCall& call = context.call;
  const Visibility& visibility = context.visibility;
  const int64_t keys = visibility.end() - visibility.begin();
  visible_keys_.reserve(visibility);
  attender_.reserve(rows, call.query.dim, call.value.dim, visibility, context.kernels.attend);
  if (context.kernels.attend16 != nullptr) {
    attender16_.reserve(rows, call.query.dim, call.value.dim, visibility);
  }
  estimate_.reserve_shares(rows, call.query.dim, keys, context.kernels.pilot_dot);
  keeper_.reserve(rows, keys, call.value.dim);
}

void TileWorker::attend_all(const CallContext& context, const ListRows& list) {
  const int64_t kv_head = list.first_head / (context.call.query.heads / context.call.key.heads);
  attend(context, kv_head, {&list, 1},
         visible_keys_.find(context.visibility, list,
                            {context.visibility.begin(), context.visibility.end()}),
         nullptr);
}

ErrorTile TileWorker::run_error_dense(const CallContext& context, const ListRows& list) {
  Stopwatch watch(context.trace, lane_, list.first_head, list.rows);
  attend_all(context, list);
  watch.lap(TraceStage::kAttend, &counters.attend_ns);
  ErrorTile tile;
  add_energy(context.call, list, tile);
  return tile;
}

ErrorTile TileWorker::run_error(const CallContext& context, const ErrorCall& error,
                                const ListRows& list) {
  const AttentionCall& call = context.call;
  const KernelSet& kernels = context.kernels;
  const int64_t group_heads = call.query.heads / call.key.heads;
  const int64_t kv_head = list.first_head / group_heads;
  const KeyEstimate& keys = context.keys.head(kv_head);
  Stopwatch watch(context.trace, lane_, list.first_head, list.rows);
  keeper_.start(context.options, context.visibility, list, keys.begin());
  if (!keys.finite() || !estimate_.shares(call, keys, context.visibility, list, keeper_.whole(),
                                          kernels.project, kernels.pilot_dot)) {
    // NaN in the keys is of all heads that share them.
    const bool counted = !keys.finite() && list.first_head % group_heads != 0;
    if (!counted) counters.nonfinite_rows += list.rows.count;
    return run_error_dense(context, list);
  }
  if (estimate_.error_variance() > kLargestDeviation * kLargestDeviation) {
    counters.unpromised_rows += list.rows.count;
    return run_error_dense(context, list);
  }
  ErrorTile tile;
  watch.lap(TraceStage::kPilot, &counters.pilot_ns);
  int64_t visible = 0;
  for (int64_t i = 0; i < list.count(); ++i) {
    visible = std::max<int64_t>(visible, context.visibility.row(list.head(i), list.row(i)).visible);
  }
  tile.seen = count_seen(context.visibility, list);
  // So many keys at the threshold together change the output by output_error.
  const double allowed = error.output_error * error.output_error * error.energy /
                         static_cast<double>(std::max<int64_t>(visible, 1));
  const KeptKeys kept = keeper_.keep(
      call, kernels, list, error.values,
      static_cast<float>(std::min(allowed * static_cast<double>(list.count()), kLargestThreshold)),
      estimate_);
  watch.lap(TraceStage::kSelect, &counters.select_ns);
  tile.kept = kept.list.count;
  ++counters.lists;
  const bool all =
      static_cast<double>(tile.kept) > error.dense_share * static_cast<double>(tile.seen);
  if (all) {
    attend_all(context, list);
  } else {
    attend(context, kv_head, {&list, 1}, kept.list, nullptr, &kept.far);
    tile.change = kept.change;
    counters.estimated_lost += kept.dropped;
  }
  counters.estimated_rows += list.count();
  watch.lap(TraceStage::kAttend, &counters.attend_ns);
  add_energy(call, list, tile);
  if (!all) {
    sample(context, list, kept.list, kept.dropped / static_cast<double>(list.count()),
           error.energy);
    watch.lap(TraceStage::kSelect, &counters.sample_ns);
  }
  return tile;
}

}  // namespace shadowattn
