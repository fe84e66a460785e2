#include "plan/list_plan.h"

#include <gtest/gtest.h>

#include "engine_problem.h"

namespace shadowattn {
namespace {

using test::Problem;

CallPlan plan(const AttentionCall& call, const EngineOptions& options) {
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(call, *executor);
  return plan_call(test::fixed_keep(options), visibility, call.query.heads / call.key.heads);
}

CallPlan plan(const Problem& p, const EngineOptions& options) { return plan(p.call, options); }

TEST(KeepCountTest, IsTheClampedCeiling) {
  EngineOptions o = {.keep = 0.2, .keep_floor = 0};
  EXPECT_EQ(keep_count(o, 0), 0);
  EXPECT_EQ(keep_count(o, 1), 1);
  EXPECT_EQ(keep_count(o, 5), 1);
  EXPECT_EQ(keep_count(o, 6), 2);
  o.keep_floor = 4;
  EXPECT_EQ(keep_count(o, 3), 3);
  EXPECT_EQ(keep_count(o, 6), 4);
  EXPECT_EQ(keep_count(o, 1000), 200);
  o.keep = 1.0;
  EXPECT_EQ(keep_count(o, 1000), 1000);
  o.keep = 5e-324;
  o.keep_floor = 0;
  EXPECT_EQ(keep_count(o, 1), 1);
  EXPECT_EQ(keep_count(o, 1 << 30), 1);
}

TEST(KeepCountTest, RoundingErrorsDoNotAddAToken) {
  for (int64_t percent = 1; percent <= 100; ++percent) {
    const EngineOptions o = {.keep = static_cast<double>(percent) / 100, .keep_floor = 0};
    for (int64_t visible = 1; visible <= 3000; ++visible) {
      ASSERT_EQ(keep_count(o, visible), (percent * visible + 99) / 100)
          << percent << " % of " << visible;
    }
  }
}

TEST(KeepCountTest, GrowsWithTheContextAndStaysWithinIt) {
  for (const double keep : {1e-9, 0.013, 0.2, 0.777, 0.999999, 1.0}) {
    for (const int32_t floor : {0, 1, 256}) {
      const EngineOptions o = {.keep = keep, .keep_floor = floor};
      int64_t before = 0;
      for (int64_t visible = 1; visible <= 3000; ++visible) {
        const int64_t count = keep_count(o, visible);
        ASSERT_GE(count, std::max<int64_t>(before, 1));
        ASSERT_LE(count, visible);
        before = count;
      }
    }
  }
}

TEST(ListPlanTest, SaysWhyACallIsDense) {
  Problem p({4, 2, 10, 300, 16, 16});
  p.set_causal(290);
  EXPECT_EQ(plan(p, {.mode = Mode::kDense}).dense_reason, DenseReason::kRequested);
  EXPECT_EQ(plan(p, {.keep = 0.2, .keep_floor = 300}).dense_reason, DenseReason::kShort);
  EXPECT_EQ(plan(p, {.keep = 0.2, .keep_floor = 299}).dense_reason, DenseReason::kNone);
  EXPECT_EQ(plan(p, {.keep = 1.0, .keep_floor = 0}).dense_reason, DenseReason::kShort);
  p.set_causal(-10);
  EXPECT_EQ(plan(p, {.keep = 0.2, .keep_floor = 0}).dense_reason, DenseReason::kShort)
      << "nothing visible";
}

TEST(ListPlanTest, EveryReasonHasADescription) {
  EXPECT_TRUE(describe(DenseReason::kNone).empty());
  for (const DenseReason reason :
       {DenseReason::kRequested, DenseReason::kShort, DenseReason::kNonFinite}) {
    EXPECT_FALSE(describe(reason).empty());
  }
}

/// Tiles cover all rows in order, their groups cover them, no group is too long.
void expect_sound(const CallPlan& plan, int64_t rows, int64_t longest) {
  int64_t next = 0;
  for (const QueryTile& tile : plan.tiles) {
    ASSERT_EQ(tile.rows.first, next);
    ASSERT_GT(tile.rows.count, 0);
    for (const RowRange& group : tile.groups) {
      ASSERT_EQ(group.first, next);
      ASSERT_GT(group.count, 0);
      ASSERT_LE(group.count, longest);
      next += group.count;
    }
    ASSERT_EQ(next, tile.rows.first + tile.rows.count);
  }
  ASSERT_EQ(next, rows);
}

TEST(ListPlanTest, RowsAreCutWithoutGapsOrOverlap) {
  for (const int64_t rows : {1, 2, 7, 8, 9, 64, 65, 200}) {
    for (const int32_t per_list : {1, 2, 3, 8, 63, 64}) {
      for (const int64_t heads : {1, 7, 64, 100}) {
        for (const bool causal : {true, false}) {
          AttentionCall call;  // these masks are read off the shapes: no data needed
          call.query.heads = heads;
          call.query.rows = rows;
          call.key.heads = 1;
          call.key.rows = 300;
          call.mask.kind = causal ? MaskKind::kCausal : MaskKind::kNone;
          call.mask.causal_offset = 300 - rows;
          expect_sound(plan(call, {.keep = 0.2, .keep_floor = 0, .rows_per_list = per_list}), rows,
                       per_list);
          expect_sound(plan(call, {.mode = Mode::kDense, .rows_per_list = per_list}), rows, rows);
        }
      }
    }
  }
}

TEST(ListPlanTest, GroupsAreFullWithinOneSequence) {
  Problem p({2, 1, 37, 300, 16, 16});
  p.set_causal(263);
  const CallPlan result = plan(p, {.keep = 0.2, .keep_floor = 0, .rows_per_list = 8});
  int64_t groups = 0;
  for (const QueryTile& tile : result.tiles) groups += std::ssize(tile.groups);
  EXPECT_EQ(groups, 5);  // 4 × 8 + 5
}

TEST(ListPlanTest, NoGroupCrossesASequence) {
  for (const int32_t per_list : {2, 3, 8, 64}) {
    Problem p({2, 1, 22, 300, 16, 16});
    test::set_interleaved(p);  // rows 0 … 10 and 11 … 21
    const CallPlan result = plan(p, {.keep = 0.2, .keep_floor = 0, .rows_per_list = per_list});
    expect_sound(result, 22, per_list);
    for (const QueryTile& tile : result.tiles) {
      for (const RowRange& group : tile.groups) {
        EXPECT_FALSE(group.first < 11 && group.first + group.count > 11) << per_list;
      }
    }
  }
}

TEST(ListPlanTest, RanksAreForListsOfSeveralRowsWithoutBias) {
  const auto ranks = [](const Problem& p, int32_t rows, bool share) {
    return plan(p, {.keep = 0.2, .keep_floor = 0, .rows_per_list = rows, .share_heads = share})
        .ranks;
  };
  Problem grouped({4, 2, 9, 300, 16, 16});
  Problem single({2, 2, 9, 300, 16, 16});  // a group is one head
  for (Problem* p : {&grouped, &single}) p->set_causal(291);
  EXPECT_TRUE(ranks(grouped, 8, true));
  EXPECT_TRUE(ranks(grouped, 2, false));
  EXPECT_TRUE(ranks(grouped, 1, true));
  EXPECT_FALSE(ranks(grouped, 1, false));
  EXPECT_TRUE(ranks(single, 2, true));
  EXPECT_FALSE(ranks(single, 1, true));
  EXPECT_FALSE(plan(grouped, {.mode = Mode::kDense}).ranks);
  test::set_interleaved(grouped);  // holes are no biases
  EXPECT_TRUE(ranks(grouped, 8, true));
  grouped.set_alibi(291);
  EXPECT_FALSE(ranks(grouped, 8, true));
  // One biased key of one row of one head, and all are scored by row.
  const auto with_bias = [&](double bias) {
    single.set_mask(
        [=](int64_t h, int64_t i, int64_t j) {
          return j > 291 + i ? -test::kInfinity : h == 1 && i == 4 && j == 5 ? bias : 0.0;
        },
        2);
    return ranks(single, 8, true);
  };
  EXPECT_FALSE(with_bias(1.0));
  EXPECT_TRUE(with_bias(-test::kInfinity));
}

TEST(ListPlanTest, TilesOfScoresAreSmaller) {
  // Scores of a tile are stored, ranks are not.
  Problem p({2, 1, 200, 300, 16, 16});
  p.set_causal(100);
  const auto longest = [&](int32_t rows, bool share) {
    int64_t most = 0;
    const CallPlan result =
        plan(p, {.keep = 0.2, .keep_floor = 0, .rows_per_list = rows, .share_heads = share});
    for (const QueryTile& tile : result.tiles) most = std::max(most, tile.rows.count);
    return most;
  };
  EXPECT_EQ(longest(8, true), kTileTarget / 2);
  EXPECT_EQ(longest(1, false), kScoreTileTarget / 2);
  EXPECT_EQ(longest(64, true), 64) << "a list is never cut";
}

TEST(DenseTilesTest, CoverTheRows) {
  for (const int64_t rows : {0, 1, 63, 64, 65, 1000}) {
    for (const int64_t length : {1, 7, 64, 2000}) {
      AttentionCall call;
      call.query.rows = rows;
      call.key.rows = 50;
      const std::unique_ptr<Executor> executor = make_thread_pool(1);
      CallPlan dense;
      dense.tiles = dense_tiles(Visibility(call, *executor), 3, length);
      expect_sound(dense, rows, length);
      EXPECT_EQ(std::ssize(dense.tiles), (rows + length - 1) / length);
      for (const QueryTile& tile : dense.tiles) EXPECT_EQ(tile.groups.size(), 1U);
    }
  }
}

TEST(DenseTilesTest, SequencesThatShareNoKeysShareNoTile) {
  // Eight chats in one cache, cell by cell in turn, and a run of rows of each.
  for (const int64_t heads : {1, 3, 7}) {
    Problem p({heads, 1, 40, 400, 16, 16});
    std::vector<test::Token> cells;
    std::vector<test::Token> rows;
    for (int j = 0; j < 400; ++j) cells.push_back({j % 8, j / 8});
    for (int i = 0; i < 40; ++i) rows.push_back({i / 5, 45 + i % 5});
    p.set_cells(cells, rows);
    const std::unique_ptr<Executor> executor = make_thread_pool(1);
    CallPlan dense;
    dense.tiles = dense_tiles(Visibility(p.call, *executor), heads, 64);
    expect_sound(dense, 40, 5);
    EXPECT_EQ(dense.tiles.size(), 8U) << heads;
  }
}

TEST(DenseTilesTest, RowsThatSeeNearlyTheSameShareATile) {
  // No row continues another, but each hides three keys of its own only.
  Problem p({4, 1, 32, 400, 16, 16});
  p.set_mask([](int64_t, int64_t i, int64_t j) {
    return j >= 10 * i && j < 10 * i + 3 ? -test::kInfinity : 0.0;
  });
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  EXPECT_EQ(dense_tiles(Visibility(p.call, *executor), 4, 64).size(), 1U);
}

TEST(DenseTilesTest, TargetCountsRowsOfAllHeads) {
  for (const int64_t heads : {1, 7, 64, 100, 300}) {
    AttentionCall call;
    call.query.heads = heads;
    call.query.rows = 1000;
    call.key.heads = 1;
    call.key.rows = 50;
    const std::unique_ptr<Executor> executor = make_thread_pool(1);
    const Visibility visibility(call, *executor);
    for (const int64_t target : {kTileTarget, kWideTileTarget}) {
      const CallPlan result = plan_call({.mode = Mode::kDense}, visibility, heads, target);
      expect_sound(result, 1000, std::max<int64_t>(1, target / heads));
      EXPECT_EQ(result.tiles[0].rows.count, std::max<int64_t>(1, target / heads));
    }
  }
}

TEST(DensePartsTest, PartsCoverTheKeys) {
  for (int64_t tasks = 1; tasks <= 40; ++tasks) {
    for (int64_t keys = 0; keys < 70000; keys += keys < 5000 ? 1 : 997) {
      const int64_t parts = dense_parts(tasks, keys);
      ASSERT_GE(parts, 1);
      ASSERT_LE(parts, 32);
      if (parts == 1) continue;
      const int64_t length = part_length(keys, parts);
      ASSERT_EQ(length % 64, 0);
      ASSERT_LT((parts - 1) * length, keys) << "the last part is empty: " << tasks << " " << keys;
      ASSERT_GE(parts * length, keys) << "keys are left over: " << tasks << " " << keys;
      ASSERT_GE(length, 1024);
    }
  }
}

TEST(DensePartsTest, OnlyWhereItPays) {
  EXPECT_EQ(dense_parts(1, 0), 1);
  EXPECT_EQ(dense_parts(1, 2047), 1);  // two parts would be too short
  EXPECT_EQ(dense_parts(1, 2048), 2);
  EXPECT_EQ(dense_parts(15, 2048), 2);
  EXPECT_EQ(dense_parts(16, 1 << 20), 1);  // enough tasks for all threads
  EXPECT_EQ(dense_parts(1, 1 << 20), 32);
  EXPECT_EQ(dense_parts(1, (1 << 30) - 1), 32);
}

TEST(PartLengthTest, IsAMultipleOf64) {
  EXPECT_EQ(part_length(2048, 2), 1024);
  EXPECT_EQ(part_length(2049, 2), 1088);
  EXPECT_EQ(part_length(100, 1), 128);
}

TEST(ListPlanTest, NoRowsNoTiles) {
  Problem p({2, 1, 0, 300, 16, 16});
  EXPECT_TRUE(plan(p, {.keep = 0.2, .keep_floor = 0}).tiles.empty());
}

}  // namespace
}  // namespace shadowattn
