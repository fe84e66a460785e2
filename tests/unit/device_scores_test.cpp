// What is looked at of a device's scores, and what becomes of scores that no device may answer. The
// ranks and scores themselves are checked against the definitions in engine_device_test.cpp.
#include "device/device_scores.h"

#include <gtest/gtest.h>

#include "device/score_check.h"
#include "engine_problem.h"
#include "kernels/family.h"
#include "select/token_lists.h"

namespace shadowattn {
namespace {

using test::Problem;

constexpr int64_t kHeads = 2;
constexpr int64_t kDim = 16;

/// INT8 operands of one KV head and the scores of two tiles of keys.
struct Scored {
  explicit Scored(int64_t rows, Requantisation r = {.mantissa = 140, .shift = 3}) {
    test::Random random(3);
    queries.resize(static_cast<size_t>(rows * kHeads * kDim));
    keys.resize(static_cast<size_t>(192 * kDim));
    for (int8_t& q : queries) q = static_cast<int8_t>(random.integer(-127, 127));
    for (int8_t& k : keys) k = static_cast<int8_t>(random.integer(-127, 127));
    first.resize(static_cast<size_t>(rows * kHeads * 128));
    second.resize(static_cast<size_t>(rows * kHeads * 64));
    for (int64_t i = 0; i < rows * kHeads; ++i) {
      for (int64_t j = 0; j < 192; ++j) {
        int64_t sum = 0;
        for (int64_t d = 0; d < kDim; ++d) {
          sum += int64_t{queries[size_t(i * kDim + d)]} * keys[size_t(j * kDim + d)];
        }
        at(i, j) = test::reference_requantised(sum, r.mantissa, r.shift);
      }
    }
    scale.assign(static_cast<size_t>(rows * kHeads), 0.01F);
    tiles = {{first.data(), 0, 128}, {second.data(), 128, 64}};
    scores.tiles = tiles;
    scores.rows = {0, rows};
    scores.heads = kHeads;
    scores.query_scale = scale.data();
    scores.log2_per_unit = 0.5;
    view = {queries.data(), keys.data(), kDim, r};
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

TEST(ScoreCheck, RightScoresPass) {
  const Scored s(9);
  for (uint64_t seed = 0; seed < 200; ++seed) {
    DeviceReport report;
    EXPECT_TRUE(scores_are_right(s.scores, s.view, seed, &report));
    EXPECT_EQ(report.checked_scores, 128);
  }
}

TEST(ScoreCheck, FindsATileThatIsWrongByOneAtOnce) {
  for (const int64_t from : {0, 128}) {
    Scored s(9);
    for (int64_t i = 0; i < 9 * kHeads; ++i) {
      for (int64_t j = from; j < from + 64; ++j) ++s.at(i, j);
    }
    int64_t found = 0;
    for (uint64_t seed = 0; seed < 200; ++seed) {
      DeviceReport report;
      found += scores_are_right(s.scores, s.view, seed, &report) ? 0 : 1;
    }
    // Of the larger tile every run of 64 keys but the last meets the wrong ones.
    EXPECT_GE(found, from == 0 ? 190 : 200);
  }
}

TEST(ScoreCheck, EverySingleWrongScoreIsFoundInTime) {
  Scored s(3);
  for (const auto& [i, j] : {std::pair{0, 0}, std::pair{5, 191}, std::pair{2, 127}}) {
    const int8_t right = s.at(i, j);
    s.at(i, j) = static_cast<int8_t>(right ^ 1);
    bool found = false;
    for (uint64_t seed = 0; seed < 5000 && !found; ++seed) {
      DeviceReport report;
      found = !scores_are_right(s.scores, s.view, seed, &report);
    }
    EXPECT_TRUE(found) << i << " " << j;
    s.at(i, j) = right;
  }
}

TEST(ScoreCheck, CountsSaturationAndTies) {
  Problem p({kHeads, 1, 4, 192, kDim, 16});
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(p.call, *executor);
  Scored s(4);
  for (int64_t i = 0; i < 4 * kHeads; ++i) {
    for (int64_t j = 0; j < 192; ++j) {
      const int64_t score = j < 5 ? 127 : j < 12 ? -127 : j < 40 ? 60 : -3;
      s.at(i, j) = static_cast<int8_t>(score);
    }
  }
  const EngineOptions options = {.keep = 20.0 / 192, .keep_floor = 0};
  for (const double sign : {1.0, -1.0}) {
    s.scores.log2_per_unit = sign;
    DeviceReport report;
    for (uint64_t seed = 0; seed < 10; ++seed) {
      count_saturated(s.scores, options, visibility, seed, &report);
    }
    EXPECT_EQ(report.sampled_scores, 10 * 192);
    EXPECT_EQ(report.saturated_scores, 10 * 12);
    EXPECT_EQ(report.sampled_kept, 10 * 20);
    // Five and then 28 alike; seven and then 152 alike.
    EXPECT_EQ(report.tied_kept, 10 * (sign > 0.0 ? 15 : 13));
  }
}

TEST(ScoreCheck, AnyBytesAreSafe) {
  Problem p({kHeads, 1, 4, 192, kDim, 16});
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(p.call, *executor);
  Scored s(4);
  for (int64_t i = 0; i < 4 * kHeads; ++i) {
    for (int64_t j = 0; j < 192; ++j) s.at(i, j) = -128;
  }
  for (const double sign : {1.0, -1.0}) {
    s.scores.log2_per_unit = sign;
    DeviceReport report;
    count_saturated(s.scores, {.keep = 0.2, .keep_floor = 0}, visibility, 1, &report);
    EXPECT_EQ(report.sampled_scores, 192);
  }
}

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

/// -128 is no score, but a device that answers it where nobody looks must not make a list of keys
/// that are not there.
TEST(DeviceEstimate, ScoresOutOfRangeGiveListsOfRealKeys) {
  Problem p({kHeads, 1, 4, 180, kDim, 16});
  p.set_causal(170);
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(p.call, *executor);
  Scored s(4);
  test::Random random(11);
  for (int64_t i = 0; i < 4 * kHeads; ++i) {
    for (int64_t j = 0; j < 192; ++j) {
      if (random.chance(0.3)) s.at(i, j) = -128;
    }
  }
  const ListRows list{{0, 4}, 0, kHeads};
  for (const double unit : {0.5, -0.5, 0.0, 1e30, -1e30, 1e-30}) {
    s.scores.log2_per_unit = unit;
    for (size_t k = 0; k < select_kernels().size(); ++k) {
      const SelectKernel& select = select_kernels()[k];
      const ScoreRankKernel& rank = score_rank_kernels()[k % score_rank_kernels().size()];
      if (!detect_cpu_features().covers(select.needs)) continue;
      if (!detect_cpu_features().covers(rank.needs)) continue;
      for (const bool ranks : {true, false}) {
        const MadeList made(s, visibility, list, {0.3, 0.0, 0}, ranks, rank, select);
        EXPECT_GT(made.count, 2);
        EXPECT_LE(made.count, 53);
        EXPECT_TRUE(made.real);
      }
    }
  }
}

/// A device may be broken in any way: whatever bytes it returns and whatever the scales are, lists
/// hold keys that some row may see, each once, in order, and a share of mass is a share.
TEST(DeviceEstimate, AnyBytesGiveListsOfRealKeys) {
  Problem p({kHeads, 1, 4, 180, kDim, 16});
  p.set_causal(170);
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(p.call, *executor);
  const SelectKernel& select = best_kernel(select_kernels(), detect_cpu_features());
  const ScoreRankKernel& rank = best_kernel(score_rank_kernels(), detect_cpu_features());
  const ListRows list{{0, 4}, 0, kHeads};
  test::Random random(23);
  for (int round = 0; round < 3000; ++round) {
    Scored s(4);
    const int64_t low = random.integer(-128, 127);
    const int64_t high = random.integer(low, 127);
    for (int64_t i = 0; i < 4 * kHeads; ++i) {
      s.scale[static_cast<size_t>(i)] = static_cast<float>(std::exp2(random.integer(-20, 20)));
      for (int64_t j = 0; j < 192; ++j) s.at(i, j) = static_cast<int8_t>(random.integer(low, high));
    }
    s.scores.log2_per_unit = std::exp2(random.integer(-12, 12)) * (random.chance(0.5) ? 1 : -1);
    const bool by_mass = random.chance(0.5);
    const bool ranks = random.chance(0.5);
    const ListBudget budget = by_mass ? ListBudget{1.0, 0.05, 0} : ListBudget{0.3, 0.0, 0};
    const MadeList made(s, visibility, list, budget, ranks, rank, select);
    ASSERT_GT(made.count, 2) << round;
    ASSERT_TRUE(made.real) << round;
    ASSERT_GE(made.lost, 0.0) << round;
    ASSERT_LE(made.lost, 1.0) << round;
  }
}

/// Where ±127 just stays in the range of ranks, -128 leaves it: its share must still be the
/// smallest, not a bit pattern beyond all shares.
TEST(DeviceEstimate, ByteBelowAllScoresHasTheSmallestShare) {
  Problem p({kHeads, 1, 1, 64, kDim, 16});
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(p.call, *executor);
  Scored s(1);
  for (int64_t i = 0; i < kHeads; ++i) {
    for (int64_t j = 0; j < 192; ++j) s.at(i, j) = j == 5 ? -128 : 0;
  }
  const ListRows list{{0, 1}, 0, kHeads};
  for (const ScoreRankKernel& kernel : score_rank_kernels()) {
    if (!detect_cpu_features().covers(kernel.needs)) continue;
    // 63 keys of score 0 and 2 heads: the level is near 6, so offset / slope is (127 - 6) / unit.
    for (int step = 0; step <= 400; ++step) {
      const double unit = 0.93 + 1e-4 * step;
      s.scores.log2_per_unit = unit / double{s.scale.front()};
      DeviceEstimate estimate;
      estimate.reserve(list.count(), 64, true);
      estimate.ranks(s.scores, visibility, list, kernel, select_kernels().back());
      const int16_t* rank = estimate.rows().row(0);
      ASSERT_GE(rank[5], 0) << kernel.name << ", " << unit;
      ASSERT_LT(rank[5], rank[6]) << kernel.name << ", " << unit;
    }
  }
}

}  // namespace
}  // namespace shadowattn
