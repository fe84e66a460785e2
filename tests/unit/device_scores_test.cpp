// What is looked at of a device's scores, and what becomes of scores that no device may answer. The
// ranks and scores themselves are checked against the definitions in engine_device_test.cpp.
#include "device/device_scores.h"

#include <gtest/gtest.h>

#include "device/score_check.h"
#include "device_bytes.h"
#include "engine_problem.h"
#include "kernels/family.h"
#include "select/token_lists.h"

namespace shadowattn {
namespace {

using test::Problem;

using test::MadeList;
using test::Scored;
constexpr int64_t kHeads = test::kDeviceHeads;
constexpr int64_t kDim = test::kDeviceDim;

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

TEST(DeviceEstimate, AnyBytesGiveListsOfRealKeys) {
  test::Random random(23);
  for (int round = 0; round < 3000; ++round) {
    // All of a kind, few kinds, or anything.
    const int64_t low = random.integer(0, 255);
    const int64_t high = random.integer(low, 255);
    std::vector<uint8_t> bytes(static_cast<size_t>(random.integer(1, 2000)));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.integer(low, high));
    bytes.front() = static_cast<uint8_t>(random.integer(0, 7));
    ASSERT_EQ(test::check_device_bytes(bytes), "") << round;
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
