#include "engine/shadow_tile.h"

#include <algorithm>
#include <new>

#include "attend/row_state.h"
#include "engine/stopwatch.h"
#include "pilot/estimate_error.h"

namespace shadowattn {

void TileWorker::reserve(const CallContext& context) {
  const AttentionCall& call = context.call;
  const int64_t group_heads = call.query.heads / call.key.heads;
  int64_t rows = 0;
  int64_t list_rows = 0;
  for (const QueryTile& tile : context.plan.tiles) {
    rows = std::max(rows, tile.rows.count);
    for (const RowRange& group : tile.groups) list_rows = std::max(list_rows, group.count);
  }
  // Parts of a dense call hold the rows of all heads.
  rows *= context.parts > 1 ? call.query.heads : group_heads;
  list_rows *= context.plan.share_heads ? group_heads : 1;
  visible_keys_.reserve(context.visibility);
  attender_.reserve(rows, call.query.dim, call.value.dim, context.visibility,
                    context.kernels.attend);
  if (context.kernels.attend16 != nullptr) {
    attender16_.reserve(rows, call.query.dim, call.value.dim, context.visibility);
  }
  lists_.reserve(static_cast<size_t>(std::max(rows, call.key.heads)));
  if (context.plan.dense()) return;
  const int64_t keys = context.visibility.end() - context.visibility.begin();
  if (context.plan.ranks) {
    estimate_.reserve_ranks(list_rows, call.query.dim, keys, context.kernels.pilot_dot);
  } else {
    estimate_.reserve_scores(rows, call.query.dim, keys, context.kernels.pilot_dot);
  }
  selector_.reserve(keys);
  if (context.on_device) device_estimate_.reserve(list_rows, keys, context.plan.ranks);
}

int64_t TileWorker::scratch_bytes() const {
  return estimate_.scratch_bytes() + device_estimate_.scratch_bytes() + selector_.scratch_bytes() +
         keeper_.scratch_bytes() + sampler_.scratch_bytes() + visible_keys_.scratch_bytes() +
         attender_.scratch_bytes() + attender16_.scratch_bytes();
}

void TileWorker::make_lists(const CallContext& context, const QueryTile& tile, int64_t kv_head) {
  const int64_t group_heads = context.call.query.heads / context.call.key.heads;
  const int64_t first_head = kv_head * group_heads;
  lists_.clear();
  for (const RowRange& rows : tile.groups) {
    if (context.plan.share_heads) {
      lists_.push_back({rows, first_head, group_heads});
      continue;
    }
    for (int64_t h = 0; h < group_heads; ++h) lists_.push_back({rows, first_head + h, 1});
  }
}

void TileWorker::attend(const CallContext& context, int64_t kv_head,
                        std::span<const ListRows> groups, const TokenList& list, float* states,
                        const FarField* far) {
  const AttentionCall& call = context.call;
  const Attend16Kernel* kernel16 = context.kernels.attend16;
  // A few rows are read where they lie: packing keys for them would cost more than it saves.
  if (kernel16 != nullptr && groups.front().count() > kRowPathLimit &&
      attender16_.attend(call, context.visibility, kv_head, groups, list, *kernel16,
                         &counters.kept_pairs, states, far)) {
    return;
  }
  for (const ListRows& rows : groups) {
    counters.kept_pairs += attender_.attend(call, context.visibility, kv_head++, rows, list,
                                            context.kernels.attend, states, far);
    if (states != nullptr) states += rows.count() * state_floats(call.value.dim);
  }
}

void TileWorker::attend_visible(const CallContext& context, const QueryTile& tile, int64_t kv_head,
                                std::span<const ListRows> groups, KeyRange within, float* states) {
  const ListRows all_masks{tile.rows, 0, context.visibility.mask_heads()};
  attend(context, kv_head, groups, visible_keys_.find(context.visibility, all_masks, within),
         states);
}

void TileWorker::run_dense(const CallContext& context, const QueryTile& tile, int64_t kv_head) {
  const int64_t group_heads = context.call.query.heads / context.call.key.heads;
  const ListRows rows{tile.rows, kv_head * group_heads, group_heads};
  Stopwatch watch(context.trace, lane_, kv_head, tile.rows);
  attend_visible(context, tile, kv_head, {&rows, 1},
                 {context.visibility.begin(), context.visibility.end()}, nullptr);
  watch.lap(TraceStage::kAttend, &counters.attend_ns);
}

void TileWorker::run_part(const CallContext& context, const QueryTile& tile, int64_t begin,
                          int64_t end, float* states) {
  const int64_t group_heads = context.call.query.heads / context.call.key.heads;
  Stopwatch watch(context.trace, lane_, -1, tile.rows);
  lists_.clear();
  for (int64_t head = 0; head < context.call.query.heads; head += group_heads) {
    lists_.push_back({tile.rows, head, group_heads});
  }
  attend_visible(context, tile, 0, lists_, {begin, end}, states);
  watch.lap(TraceStage::kAttend, &counters.attend_ns);
}

void TileWorker::run_without_estimate(const CallContext& context, const QueryTile& tile,
                                      int64_t kv_head) {
  counters.nonfinite_rows += tile.rows.count;
  run_dense(context, tile, kv_head);
}

void TileWorker::sample(const CallContext& context, const ListRows& list, const TokenList& tokens,
                        double estimated_lost, double energy) {
  const AttentionCall& call = context.call;
  for (int64_t i = 0; i < list.count(); ++i) {
    const int64_t head = list.head(i);
    const int64_t row = list.row(i);
    if (!is_sampled(call, head, row, context.options.sample_every)) continue;
    try {
      samples.push_back(
          sampler_.measure(call, context.visibility, head, row, tokens, context.kernels.attend));
      samples.back().estimated_lost = estimated_lost;
      if (energy > 0.0) {
        samples.back().squared_error =
            sampler_.squared_error(call, head, row, context.kernels.attend) / energy;
      }
    } catch (const std::bad_alloc&) {
      return;  // a call does not fail for want of a measurement
    }
  }
}

TokenList TileWorker::choose_tokens(const CallContext& context, int64_t kv_head,
                                    const ListRows& list, const KeyRanks& ranks,
                                    double error_variance) {
  ListBudget budget = context.budget(kv_head);
  if (budget.by_mass()) {
    const double promised = estimated_budget(budget.attn_error, error_variance);
    if (promised > 0.0) {
      budget.attn_error = promised;
    } else {
      budget = {};  // everything
      counters.unpromised_rows += list.rows.count;
    }
  }
  return selector_.select(context.options, budget, context.visibility, list, ranks,
                          context.kernels.select);
}

void TileWorker::finish_list(const CallContext& context, int64_t kv_head, const ListRows& list,
                             const KeyRanks& ranks, double error_variance, Stopwatch& watch) {
  const TokenList tokens = choose_tokens(context, kv_head, list, ranks, error_variance);
  watch.lap(TraceStage::kSelect, &counters.select_ns);
  attend(context, kv_head, {&list, 1}, tokens, nullptr);
  watch.lap(TraceStage::kAttend, &counters.attend_ns);
  ++counters.lists;
  if (context.budget(kv_head).by_mass()) {
    counters.estimated_rows += list.count();
    counters.estimated_lost += selector_.estimated_lost() * static_cast<double>(list.count());
  }
  sample(context, list, tokens, selector_.estimated_lost());
  watch.lap(TraceStage::kSelect, &counters.sample_ns);
}

void TileWorker::run_estimated(const CallContext& context, const QueryTile& tile, int64_t kv_head,
                               const DeviceScores& scores) {
  const KernelSet& kernels = context.kernels;
  make_lists(context, tile, kv_head);
  const bool by_mass = context.budget(kv_head).by_mass();
  Stopwatch watch(context.trace, lane_, kv_head, tile.rows);
  for (const ListRows& list : lists_) {
    KeyRanks ranks{.first_key = scores.first_key};
    if (context.plan.ranks) {
      device_estimate_.ranks(scores, context.visibility, list, kernels.score_rank, kernels.select);
      if (by_mass) device_estimate_.leave_out_unseen(scores, context.visibility, list);
      ranks.rank = device_estimate_.rows().row(0);
      ranks.most_mass = most_mass_of(list.count());
    } else {
      device_estimate_.scores(scores, context.visibility, list, kernels.score_rank);
      ranks.rank = selector_.merge(context.visibility, list, 0, device_estimate_.rows(), by_mass,
                                   kernels.select);
    }
    finish_list(context, kv_head, list, ranks, scores.error_variance, watch);
  }
}

template <typename Step>
bool TileWorker::for_each_list(const CallContext& context, const QueryTile& tile, int64_t kv_head,
                               Stopwatch& watch, const Step& step) {
  const KernelSet& kernels = context.kernels;
  const KeyEstimate& keys = context.keys.head(kv_head);
  const bool by_mass = context.budget(kv_head).by_mass();
  make_lists(context, tile, kv_head);
  if (!context.plan.ranks) {
    const bool finite = estimate_.scores(context.call, keys, context.visibility, lists_,
                                         kernels.quantize, kernels.pilot_dot);
    watch.lap(TraceStage::kPilot, &counters.pilot_ns);
    if (!finite) return false;
  }
  int64_t first_row = 0;
  for (const ListRows& list : lists_) {
    KeyRanks ranks{.first_key = keys.begin()};
    if (context.plan.ranks) {
      const bool finite =
          estimate_.ranks(context.call, keys, context.visibility, list, context.options.pilot_step,
                          kernels.quantize, kernels.pilot_dot, kernels.select);
      watch.lap(TraceStage::kPilot, &counters.pilot_ns);
      if (!finite) return false;
      if (by_mass) {
        estimate_.leave_out_unseen(context.visibility, list, context.options.pilot_step);
      }
      ranks.rank = estimate_.rows().row(0);
      ranks.most_mass = most_mass_of(list.sampled(context.options.pilot_step).count());
    } else {
      ranks.rank = selector_.merge(context.visibility, list, first_row, estimate_.rows(), by_mass,
                                   kernels.select);
    }
    step(list, ranks);
    first_row += list.count();
  }
  return true;
}

bool TileWorker::count_kept(const CallContext& context, const QueryTile& tile, int64_t kv_head,
                            int64_t* kept, int64_t* visible) {
  Stopwatch watch(context.trace, lane_, kv_head, tile.rows);
  const TileCounters before = counters;
  const bool finite = for_each_list(
      context, tile, kv_head, watch, [&](const ListRows& list, const KeyRanks& ranks) {
        *visible += count_seen(context.visibility, list);
        *kept += choose_tokens(context, kv_head, list, ranks, estimate_.error_variance()).count;
        watch.lap(TraceStage::kSelect, &counters.select_ns);
      });
  counters.unpromised_rows = before.unpromised_rows;  // of lists that nobody attends to
  return finite;
}

void TileWorker::run(const CallContext& context, const QueryTile& tile, int64_t kv_head) {
  if (!context.heads[static_cast<size_t>(kv_head)].keys_finite) {
    run_without_estimate(context, tile, kv_head);
    return;
  }
  if (keeps_everything(context, tile, kv_head)) {  // the first tiles of a prompt
    run_dense(context, tile, kv_head);
    return;
  }
  Stopwatch watch(context.trace, lane_, kv_head, tile.rows);
  const TileCounters before = counters;
  const size_t samples_before = samples.size();
  const bool finite = for_each_list(
      context, tile, kv_head, watch, [&](const ListRows& list, const KeyRanks& ranks) {
        finish_list(context, kv_head, list, ranks, estimate_.error_variance(), watch);
      });
  if (finite) return;
  counters = before;  // lists that the whole tile's output replaces
  samples.resize(samples_before);
  run_without_estimate(context, tile, kv_head);
}

}  // namespace shadowattn
