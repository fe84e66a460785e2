// What baselines choose from and how, as plain loops in double precision. Ties and last bits are
// not prescribed: choices are checked by what must hold for any right one.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "engine_problem.h"
#include "kept_keys.h"
#include "selection_reference.h"

namespace shadowattn::test {

/// An engine of just these options but for the gate, which baselines have not.
inline Engine make_baseline(const EngineOptions& options) {
  Result<Engine> engine = Engine::create(options);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return std::move(engine).value();
}

/// Logit of a key that the row sees.
inline double reference_logit(const AttentionCall& call, int64_t head, int64_t row, int64_t key) {
  const int64_t kv_head = head / (call.query.heads / call.key.heads);
  double logit = 0.0;
  for (int64_t d = 0; d < call.query.dim; ++d) {
    logit +=
        static_cast<double>(element(call.query, head, row, d)) * element(call.key, kv_head, key, d);
  }
  logit *= call.scale;
  const double cap = call.logit_softcap;
  if (cap > 0.0) logit = cap * std::tanh(logit / cap);
  return logit + reference_bias(call, head, row, key);
}

/// [keys] softmax shares of one row; 0 for keys that it does not see. `logits`: [keys], -inf where
/// it does not.
inline std::vector<double> reference_softmax(const AttentionCall& call, int64_t head,
                                             const std::vector<double>& logits) {
  double sink = -kInfinity;
  if (call.sink_logits != nullptr) sink = call.sink_logits[head];
  const double largest = std::max(sink, *std::max_element(logits.begin(), logits.end()));
  std::vector<double> shares(logits.size(), 0.0);
  if (largest == -kInfinity) return shares;
  double sum = std::exp(sink - largest);
  for (size_t j = 0; j < logits.size(); ++j) sum += shares[j] = std::exp(logits[j] - largest);
  for (double& share : shares) share /= sum;
  return shares;
}

inline std::vector<double> reference_shares(const AttentionCall& call, int64_t head, int64_t row) {
  std::vector<double> logits(static_cast<size_t>(call.key.rows), -kInfinity);
  for (int64_t j = 0; j < call.key.rows; ++j) {
    if (reference_sees(call, head, row, j)) {
      logits[static_cast<size_t>(j)] = reference_logit(call, head, row, j);
    }
  }
  return reference_softmax(call, head, logits);
}

/// The same by blocks of 64 keys: every key has the logit of the mean of those keys of its block
/// that the rows of the list see, and the mean of the row's biases there.
inline std::vector<double> reference_block_shares(const AttentionCall& call, int64_t head,
                                                  int64_t row, const std::set<int64_t>& seen) {
  const int64_t kv_head = head / (call.query.heads / call.key.heads);
  std::vector<double> logits(static_cast<size_t>(call.key.rows), -kInfinity);
  for (int64_t first = 0; first < call.key.rows; first += 64) {
    std::vector<double> mean(static_cast<size_t>(call.key.dim), 0.0);
    double members = 0.0;
    double bias = 0.0;
    std::vector<int64_t> mine;
    for (int64_t j = first; j < std::min(first + 64, call.key.rows); ++j) {
      if (seen.count(j) == 0) continue;
      members += 1.0;
      for (int64_t d = 0; d < call.key.dim; ++d) {
        mean[static_cast<size_t>(d)] += element(call.key, kv_head, j, d);
      }
      if (!reference_sees(call, head, row, j)) continue;
      mine.push_back(j);
      bias += reference_bias(call, head, row, j);
    }
    if (mine.empty()) continue;
    double logit = 0.0;
    for (int64_t d = 0; d < call.key.dim; ++d) {
      logit += element(call.query, head, row, d) * mean[static_cast<size_t>(d)] / members;
    }
    logit *= call.scale;
    const double cap = call.logit_softcap;
    if (cap > 0.0) logit = cap * std::tanh(logit / cap);
    logit += bias / static_cast<double>(mine.size());
    for (const int64_t j : mine) logits[static_cast<size_t>(j)] = logit;
  }
  return reference_softmax(call, head, logits);
}

/// One list of a baseline: who shares it, and what decides.
struct ReferenceList {
  std::vector<HeadRow> rows;
  std::set<int64_t> seen;    ///< by any of its rows
  std::set<int64_t> forced;  ///< always in
  int64_t most_visible = 0;
  std::vector<double> rank;  ///< [keys] mean share of those rows that see anything

  double mass() const { return std::accumulate(rank.begin(), rank.end(), 0.0); }
};

inline std::vector<ReferenceList> reference_lists(const Problem& p, const EngineOptions& options) {
  const AttentionCall& call = p.call;
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(call, *executor);
  const SelectionReference reference(call, options);
  const int64_t group = p.shape.heads / p.shape.kv_heads;
  const bool alone = options.mode == Mode::kOracle || options.mode == Mode::kWindow;
  const int64_t per_list = alone ? 1 : options.rows_per_list;
  const int64_t target = std::max<int64_t>(1, 64 / group) / per_list * per_list;
  const int64_t list_heads = !alone && options.share_heads ? group : 1;
  std::vector<ReferenceList> lists;
  for (const QueryTile& tile : list_tiles(visibility, per_list, std::max(per_list, target))) {
    for (const RowRange& rows : tile.groups) {
      for (int64_t first = 0; first < p.shape.heads; first += list_heads) {
        ReferenceList list;
        for (int64_t i = rows.first; i < rows.first + rows.count; ++i) {
          for (int64_t h = first; h < first + list_heads; ++h) list.rows.push_back({h, i});
        }
        for (const HeadRow& at : list.rows) {
          const std::vector<int64_t> visible = reference.visible(at);
          list.seen.insert(visible.begin(), visible.end());
          list.most_visible = std::max(list.most_visible, std::ssize(visible));
          list.forced.merge(reference.forced(at));
        }
        list.rank.assign(static_cast<size_t>(p.shape.keys), 0.0);
        double rows_that_see = 0.0;
        for (const HeadRow& at : list.rows) {
          if (reference.visible(at).empty()) continue;
          rows_that_see += 1.0;
          const std::vector<double> shares =
              options.mode == Mode::kBlock
                  ? reference_block_shares(call, at.head, at.row, list.seen)
                  : reference_shares(call, at.head, at.row);
          for (size_t j = 0; j < shares.size(); ++j) list.rank[j] += shares[j];
        }
        for (double& rank : list.rank) rank /= std::max(rows_that_see, 1.0);
        lists.push_back(list);
      }
    }
  }
  return lists;
}

/// What the rows of a list attend to between them.
inline std::set<int64_t> kept_by(const Kept& kept, const ReferenceList& list) {
  std::set<int64_t> keys;
  for (const HeadRow& at : list.rows) {
    const auto& row = kept[static_cast<size_t>(at.head)][static_cast<size_t>(at.row)];
    keys.insert(row.begin(), row.end());
  }
  return keys;
}

/// Rows attend to all of the list that they see.
inline void expect_list_is_shared(const Problem& p, const Kept& kept, const ReferenceList& list) {
  const std::set<int64_t> keys = kept_by(kept, list);
  for (const HeadRow& at : list.rows) {
    std::set<int64_t> expected;
    for (const int64_t key : keys) {
      if (reference_sees(p.call, at.head, at.row, key)) expected.insert(key);
    }
    ASSERT_EQ(kept[static_cast<size_t>(at.head)][static_cast<size_t>(at.row)], expected);
  }
}

inline constexpr double kRankTolerance = 1e-4;  // relative; ranks come from f32 logits

/// The fewest keys, forced ones first and then best first, but for `error` of the mass, at most
/// `allowed` (which forced ones may exceed).
inline int64_t reference_fewest(const ReferenceList& list, double error, int64_t allowed) {
  std::vector<double> rest;
  double lost = 0.0;
  error *= list.mass();
  for (const int64_t key : list.seen) {
    if (list.forced.count(key) != 0) continue;
    rest.push_back(list.rank[static_cast<size_t>(key)]);
    lost += rest.back();
  }
  std::sort(rest.rbegin(), rest.rend());
  auto kept = std::ssize(list.forced);
  for (const double share : rest) {
    if (lost <= error || kept >= allowed) break;
    lost -= share;
    ++kept;
  }
  return kept;
}

/// A list of single keys is as the options want it.
inline void expect_right_keys(const std::set<int64_t>& kept, const ReferenceList& list,
                              const EngineOptions& options) {
  for (const int64_t key : list.forced) ASSERT_EQ(kept.count(key), 1U) << "forced key " << key;
  double worst_kept = kInfinity;
  double best_left = 0.0;
  for (const int64_t key : list.seen) {
    const double rank = list.rank[static_cast<size_t>(key)];
    if (kept.count(key) == 0) {
      best_left = std::max(best_left, rank);
    } else if (list.forced.count(key) == 0) {
      worst_kept = std::min(worst_kept, rank);
    }
  }
  EXPECT_GE(worst_kept, best_left * (1.0 - kRankTolerance));
  const int64_t count = std::ssize(kept);
  if (list.most_visible <= options.keep_floor) {
    EXPECT_EQ(kept, list.seen);
    return;
  }
  const int64_t allowed = reference_keep(options, list.most_visible);
  if (options.attn_error == 0.0) {
    EXPECT_EQ(count, std::min(std::max(allowed, std::ssize(list.forced)), std::ssize(list.seen)));
    return;
  }
  // Nearly all keys are not thinned out where lists are to be as those of a shadow call.
  const int64_t all = std::min(std::max(allowed, std::ssize(list.forced)), std::ssize(list.seen));
  const auto wanted = [&](double error) {
    const int64_t fewest = reference_fewest(list, error, allowed);
    const bool nearly_all =
        options.mode == Mode::kSparseF32 && fewest * 10 > std::ssize(list.seen) * 9;
    return nearly_all ? std::max(all, fewest) : fewest;
  };
  EXPECT_GE(count, wanted(options.attn_error * (1.0 + kRankTolerance)));
  EXPECT_LE(count, wanted(options.attn_error * (1.0 - kRankTolerance)));
}

/// A list of whole blocks is as the options want it.
inline void expect_right_blocks(const std::set<int64_t>& kept, const ReferenceList& list,
                                const EngineOptions& options) {
  struct Block {
    double rank = 0.0;
    double mass = 0.0;
    int64_t open = 0;  // keys seen that are not forced
    int64_t kept = 0;  // of these
  };
  std::map<int64_t, Block> blocks;
  double lost = 0.0;
  for (const int64_t key : list.seen) {
    Block& block = blocks[key / 64];
    const double rank = list.rank[static_cast<size_t>(key)];
    block.rank = std::max(block.rank, rank);
    if (list.forced.count(key) != 0) continue;
    ++block.open;
    block.kept += static_cast<int64_t>(kept.count(key));
    block.mass += rank;
    lost += kept.count(key) == 0 ? rank : 0.0;
  }
  for (const int64_t key : list.forced) ASSERT_EQ(kept.count(key), 1U) << "forced key " << key;
  double best_left = 0.0;
  const Block* worst = nullptr;
  for (const auto& [index, block] : blocks) {
    if (block.open == 0) continue;
    ASSERT_TRUE(block.kept == 0 || block.kept == block.open) << "block " << index << " in part";
    if (block.kept == 0) best_left = std::max(best_left, block.rank);
    if (block.kept > 0 && (worst == nullptr || block.rank < worst->rank)) worst = &block;
  }
  if (worst != nullptr) {
    EXPECT_GE(worst->rank, best_left * (1.0 - kRankTolerance));
  }
  if (list.most_visible <= options.keep_floor) {
    EXPECT_EQ(kept, list.seen);
    return;
  }
  // Enough, and not without the last block.
  const int64_t count = std::ssize(kept);
  const int64_t allowed = reference_keep(options, list.most_visible);
  const double error = options.attn_error * list.mass();
  const bool all = count == std::ssize(list.seen);
  EXPECT_TRUE(all || count >= allowed || (error > 0.0 && lost <= error * (1.0 + kRankTolerance)));
  if (worst == nullptr) return;
  EXPECT_LT(count - worst->open, allowed);
  if (error > 0.0) {
    EXPECT_GT(lost + worst->mass, error * (1.0 - kRankTolerance));
  }
}

}  // namespace shadowattn::test
