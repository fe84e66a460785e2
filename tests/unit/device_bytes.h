// Scores of a device, right or any bytes, and the lists that come of them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "device/device_scores.h"
#include "device/score_check.h"
#include "kernels/family.h"
#include "plan/list_plan.h"
#include "random_tensor.h"
#include "reference.h"
#include "select/token_lists.h"
#include "shadowattn/executor.h"

namespace shadowattn::test {

inline constexpr int64_t kDeviceHeads = 2;
inline constexpr int64_t kDeviceDim = 16;

/// INT8 operands of one KV head and the scores of two tiles of keys.
struct Scored {
  explicit Scored(int64_t rows, Requantisation r = {.mantissa = 140, .shift = 3}) {
    Random random(3);
    queries.resize(static_cast<size_t>(rows * kDeviceHeads * kDeviceDim));
    keys.resize(static_cast<size_t>(192 * kDeviceDim));
    for (int8_t& q : queries) q = static_cast<int8_t>(random.integer(-127, 127));
    for (int8_t& k : keys) k = static_cast<int8_t>(random.integer(-127, 127));
    first.resize(static_cast<size_t>(rows * kDeviceHeads * 128));
    second.resize(static_cast<size_t>(rows * kDeviceHeads * 64));
    for (int64_t i = 0; i < rows * kDeviceHeads; ++i) {
      for (int64_t j = 0; j < 192; ++j) {
        int64_t sum = 0;
        for (int64_t d = 0; d < kDeviceDim; ++d) {
          sum += int64_t{queries[size_t(i * kDeviceDim + d)]} * keys[size_t(j * kDeviceDim + d)];
        }
        at(i, j) = reference_requantised(sum, r.mantissa, r.shift);
      }
    }
    scale.assign(static_cast<size_t>(rows * kDeviceHeads), 0.01F);
    tiles = {{first.data(), 0, 128}, {second.data(), 128, 64}};
    scores.tiles = tiles;
    scores.rows = {0, rows};
    scores.heads = kDeviceHeads;
    scores.query_scale = scale.data();
    scores.log2_per_unit = 0.5;
    view = {queries.data(), keys.data(), kDeviceDim, r};
  }

  int8_t& at(int64_t i, int64_t j) {
    return j < 128 ? first[size_t(i * 128 + j)] : second[size_t(i * 64 + j - 128)];
  }

  std::vector<int8_t> queries;
  std::vector<int8_t> keys;
  std::vector<int8_t> first;
  std::vector<int8_t> second;
  std::vector<float> scale;
  std::vector<DeviceScores::KeyTileScores> tiles;
  DeviceScores scores;
  DeviceOperandView view;
};

/// The list that a budget makes of a device's scores, by ranks or row by row: keys that some row
/// may see, each once, in order.
struct MadeList {
  MadeList(const Scored& s, const Visibility& visibility, const ListRows& list,
           const ListBudget& budget, bool ranks, const ScoreRankKernel& rank,
           const SelectKernel& select) {
    const EngineOptions options = {.keep_floor = 0, .sink = 1, .recent = 2};
    const int64_t visible = visible_range(visibility, list).end;
    DeviceEstimate estimate;
    estimate.reserve(list.count(), visible, ranks);
    TokenSelector selector;
    selector.reserve(visible);
    KeyRanks importance{.most_mass = most_mass_of(list.count())};
    if (ranks) {
      estimate.ranks(s.scores, visibility, list, rank, select);
      if (budget.by_mass()) estimate.leave_out_unseen(s.scores, visibility, list);
      importance.rank = estimate.rows().row(0);
    } else {
      estimate.scores(s.scores, visibility, list, rank);
      importance.rank =
          selector.merge(visibility, list, 0, estimate.rows(), budget.by_mass(), select);
    }
    const TokenList tokens = selector.select(options, budget, visibility, list, importance, select);
    count = tokens.count;
    lost = selector.estimated_lost();
    for (int64_t i = 0; i < count; ++i) {
      real =
          real && tokens.key(i) >= (i > 0 ? tokens.key(i - 1) + 1 : 0) && tokens.key(i) < visible;
    }
  }

  int64_t count = 0;
  double lost = 0.0;
  bool real = true;
};

/// What a device may answer if it is broken in any way: whatever its bytes and scales are, lists
/// hold keys that some row may see, each once, in order, and a share of mass is a share. `bytes`
/// (repeated when there are too few) choose all of it: settings, scales, scores. Returns what is
/// wrong; empty: nothing.
inline std::string check_device_bytes(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return {};
  size_t next = 0;
  const auto take = [&] { return bytes[next++ % bytes.size()]; };
  const uint8_t settings = take();
  const bool ranks = (settings & 1U) != 0;
  const bool by_mass = (settings & 2U) != 0;
  const double sign = (settings & 4U) != 0 ? -1.0 : 1.0;
  Scored s(4);
  // From what underflows to what overflows, and what no model has in between.
  s.scores.log2_per_unit = sign * std::exp2(static_cast<int8_t>(take()) / 2);
  for (float& scale : s.scale)
    scale = std::exp2f(static_cast<float>(static_cast<int8_t>(take())) / 4);
  const int64_t offset = 60 + take() % 129;  // of the causal mask: some rows may see all 192 keys
  for (int64_t i = 0; i < 4 * kDeviceHeads; ++i) {
    for (int64_t j = 0; j < 192; ++j) s.at(i, j) = static_cast<int8_t>(take());
  }
  AttentionCall call;  // only its shapes and its mask are looked at
  call.query.heads = kDeviceHeads;
  call.query.rows = 4;
  call.key.heads = 1;
  call.key.rows = 192;
  call.mask.kind = MaskKind::kCausal;
  call.mask.causal_offset = offset;
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(call, *executor);
  const CpuFeatures features = detect_cpu_features();
  const ListBudget budget = by_mass ? ListBudget{1.0, 0.05, 0} : ListBudget{0.3, 0.0, 0};
  const MadeList made(s, visibility, {{0, 4}, 0, kDeviceHeads}, budget, ranks,
                      best_kernel(score_rank_kernels(), features),
                      best_kernel(select_kernels(), features));
  if (!made.real) return "a key that no row sees, or one twice";
  if (made.count < 3) return "a list without its forced keys";
  if (!(made.lost >= 0.0 && made.lost <= 1.0)) return "a share that is none";
  return {};
}

}  // namespace shadowattn::test
