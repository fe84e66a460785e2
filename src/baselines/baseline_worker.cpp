#include "baselines/baseline_worker.h"

#include <algorithm>
#include <chrono>

namespace shadowattn {
namespace {

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

/// As visible_range, but begin == end when the rows see nothing.
KeyRange keys_of(const Visibility& visibility, const ListRows& rows) {
  const KeyRange range = visible_range(visibility, rows);
  return {std::min(range.begin, range.end), range.end};
}

/// Whether the rows' heads have the same mask and bias.
bool same_mask(const Visibility& visibility, const ListRows& rows) {
  for (int64_t h = 1; h < rows.heads; ++h) {
    if (!visibility.same_for(rows.first_head, rows.first_head + h)) return false;
  }
  return true;
}

}  // namespace

void BaselineWorker::reserve(const BaselineCall& call) {
  const int64_t rows = call.rows * (call.call.query.heads / call.call.key.heads);
  const int64_t keys = call.visibility.end() - call.visibility.begin();
  const int64_t dim = call.call.key.dim;
  const Mode mode = call.options.mode;
  attender_.reserve(rows, dim, call.call.value.dim, call.visibility, call.kernels.attend);
  if (call.kernels.attend16 != nullptr) {
    attender16_.reserve(rows, dim, call.call.value.dim, call.visibility);
  }
  if (mode == Mode::kNpuInt8) return;
  chooser_.reserve(keys);
  rank_.resize(static_cast<size_t>(keys));
  if (mode == Mode::kBlock) block_shares_.reserve(keys, dim);
  if (mode == Mode::kSparseF32 || mode == Mode::kOracle) {
    shares_.reserve(rows, keys, dim, call.kernels.attend);
  }
}

int64_t BaselineWorker::scratch_bytes() const {
  return shares_.scratch_bytes() + block_shares_.scratch_bytes() + chooser_.scratch_bytes() +
         attender_.scratch_bytes() + attender16_.scratch_bytes() + sampler_.scratch_bytes() +
         static_cast<int64_t>(rank_.capacity() * sizeof(double));
}

void BaselineWorker::attend(const BaselineCall& call, int64_t kv_head, const ListRows& rows,
                            const TokenList& list) {
  const Attend16Kernel* kernel16 = call.kernels.attend16;
  // The same arithmetic as of a shadow call: only the lists are to differ.
  if (kernel16 != nullptr && rows.count() > kRowPathLimit &&
      attender16_.attend(call.call, call.visibility, kv_head, {&rows, 1}, list, *kernel16,
                         &counters.kept_pairs)) {
    return;
  }
  counters.kept_pairs +=
      attender_.attend(call.call, call.visibility, kv_head, rows, list, call.kernels.attend);
}

void BaselineWorker::attend_densely(const BaselineCall& call, int64_t kv_head,
                                    const ListRows& rows) {
  const KeyRange keys = keys_of(call.visibility, rows);
  attend(call, kv_head, rows, {nullptr, keys.begin, keys.end - keys.begin});
}

void BaselineWorker::sample(const BaselineCall& call, const ListRows& rows, const TokenList& list,
                            double estimated_lost) {
  for (int64_t i = 0; i < rows.count(); ++i) {
    const int64_t head = rows.head(i);
    const int64_t row = rows.row(i);
    if (!is_sampled(call.call, head, row, call.options.sample_every)) continue;
    if (call.visibility.row(head, row).visible == 0) continue;
    counters.samples.push_back(
        sampler_.measure(call.call, call.visibility, head, row, list, call.kernels.attend));
    counters.samples.back().estimated_lost = estimated_lost;
  }
}

bool BaselineWorker::estimate(const BaselineCall& call, int64_t kv_head, const ListRows& list) {
  if (call.options.mode != Mode::kBlock) return shares_.ranks(call.visibility, list, rank_.data());
  return block_shares_.ranks(call.call, call.visibility, kv_head, list,
                             keys_of(call.visibility, list), call.means, call.kernels.attend,
                             rank_.data());
}

bool BaselineWorker::run_list(const BaselineCall& call, int64_t kv_head, const ListRows& list) {
  Stopwatch watch;
  const bool finite = estimate(call, kv_head, list);
  watch.lap(&counters.pilot_ns);
  if (!finite) {
    attend_densely(call, kv_head, list);
    watch.lap(&counters.attend_ns);
    return false;
  }
  const KeyRange keys =
      call.options.mode == Mode::kBlock ? keys_of(call.visibility, list) : shares_.keys();
  const RankedKeys ranked{rank_.data(), keys.begin, keys.end - keys.begin};
  const ChosenKeys chosen =
      call.options.mode == Mode::kBlock
          ? chooser_.blocks(call.options, call.visibility, list, ranked, kBlockKeys)
          : chooser_.keys(call.options, call.visibility, list, ranked,
                          call.options.mode == Mode::kSparseF32 ? kNearlyAll : 1.0);
  watch.lap(&counters.select_ns);
  attend(call, kv_head, list, chosen.list);
  watch.lap(&counters.attend_ns);
  ++counters.lists;
  for (int64_t i = 0; i < list.count(); ++i) {
    if (call.visibility.row(list.head(i), list.row(i)).visible == 0) continue;
    counters.estimated_lost += chosen.lost;
    ++counters.estimated_rows;
  }
  sample(call, list, chosen.list, chosen.lost);
  watch.lap(&counters.sample_ns);
  return true;
}

void BaselineWorker::run_window(const BaselineCall& call, int64_t kv_head, const ListRows& row) {
  Stopwatch watch;
  const KeyRange keys = keys_of(call.visibility, row);
  const RankedKeys seen{rank_.data(), keys.begin, keys.end - keys.begin};
  mark_seen(call.visibility, row, keys.begin, seen.count, rank_.data());
  const TokenList list =
      chooser_.window(call.options, call.visibility, row.first_head, row.rows.first, seen);
  watch.lap(&counters.select_ns);
  attend(call, kv_head, row, list);
  watch.lap(&counters.attend_ns);
  ++counters.lists;
  sample(call, row, list, 0.0);
  watch.lap(&counters.sample_ns);
}

void BaselineWorker::run(const BaselineCall& call, const QueryTile& tile, int64_t kv_head) {
  const int64_t group_heads = call.call.query.heads / call.call.key.heads;
  const ListRows all{tile.rows, kv_head * group_heads, group_heads};
  const Mode mode = call.options.mode;
  if (mode == Mode::kSparseF32 || mode == Mode::kOracle) {
    Stopwatch watch;
    shares_.compute(call.call, call.visibility, kv_head, all, call.kernels.attend);
    watch.lap(&counters.pilot_ns);
  }
  const bool share = mode == Mode::kWindow ? same_mask(call.visibility, all)
                                           : mode != Mode::kOracle && call.options.share_heads;
  bool finite = true;
  for (const RowRange& rows : tile.groups) {
    const ListRows group{rows, all.first_head, all.heads};
    for (int64_t h = 0; h < (share ? 1 : group_heads); ++h) {
      const ListRows list = share ? group : ListRows{rows, all.first_head + h, 1};
      if (mode == Mode::kWindow) {
        run_window(call, kv_head, list);
      } else {
        finite &= run_list(call, kv_head, list);
      }
    }
  }
  if (!finite) counters.nonfinite_rows += tile.rows.count;
}

}  // namespace shadowattn
