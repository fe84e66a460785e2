// Lists that rows share and the mass they keep, on logits small enough to work out by hand.
#include "mass_lists.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "measure/recall_score.h"

namespace shadowattn::bench {
namespace {

using tool::measure::RowReference;
using tool::measure::TopKQuality;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> logs(const std::vector<float>& shares) {
  std::vector<float> values;
  for (const float share : shares) values.push_back(std::log(share));
  return values;
}

TEST(MassLists, OneRowIsRankedByItsLogits) {
  const std::vector<float> logits = {-900, 3, 900, 2, 7};
  ListEstimate list;
  list.logits = {logits};
  list.seen = {{1, 4}};
  EXPECT_EQ(rank_keys(list, {}), (std::vector<float>{3, 900, 2}));
  EXPECT_EQ(rank_keys(list, {1, 1}), (std::vector<float>{kInfinity, 900, kInfinity}));
}

TEST(MassLists, RowsAreRankedByTheSharesTheyGiveTogether) {
  // Shares: row 0 sees keys 0 … 2, row 1 keys 0 … 3 and has larger logits throughout.
  const std::vector<float> first = logs({0.5F, 0.3F, 0.2F, 77.0F});
  const std::vector<float> second = logs({1000, 2000, 3000, 4000});
  ListEstimate list;
  list.logits = {first, second};
  list.seen = {{0, 3}, {0, 4}};
  EXPECT_EQ(list.range().begin, 0);
  EXPECT_EQ(list.range().end, 4);
  const std::vector<float> ranks = rank_keys(list, {});
  ASSERT_EQ(ranks.size(), 4U);
  EXPECT_NEAR(ranks[0], 0.5 + 0.1, 1e-6);
  EXPECT_NEAR(ranks[1], 0.3 + 0.2, 1e-6);
  EXPECT_NEAR(ranks[2], 0.2 + 0.3, 1e-6);
  EXPECT_NEAR(ranks[3], 0.4, 1e-6);
  const std::vector<float> forced = rank_keys(list, {0, 1});
  EXPECT_EQ(forced[2], kInfinity) << "the last key of row 0";
  EXPECT_EQ(forced[3], kInfinity) << "the last key of row 1";
  EXPECT_NEAR(forced[0], 0.6, 1e-6);
}

TEST(MassLists, TiesAreChances) {
  const std::vector<float> ranks = {1, 5, 1, 1, kInfinity};
  EXPECT_EQ(choose_keys(ranks, 1), (std::vector<float>{0, 0, 0, 0, 1}));
  EXPECT_EQ(choose_keys(ranks, 2), (std::vector<float>{0, 1, 0, 0, 1}));
  const std::vector<float> tied = choose_keys(ranks, 4);
  EXPECT_NEAR(tied[0], 2.0 / 3, 1e-6);
  EXPECT_EQ(tied[1], 1);
  EXPECT_EQ(choose_keys(ranks, 5), (std::vector<float>{1, 1, 1, 1, 1}));
}

TEST(MassLists, Length) {
  EXPECT_EQ(list_length(0.1, {0, 101}, {}), 11);
  EXPECT_EQ(list_length(1, {5, 101}, {}), 96);
  EXPECT_EQ(list_length(1e-6, {0, 10}, {}), 1);
  EXPECT_EQ(list_length(0.1, {0, 100}, {4, 64}), 68) << "forced keys count";
  EXPECT_EQ(list_length(0.1, {0, 50}, {4, 64}), 50);
}

TEST(MassLists, MassOfAListByItsWeights) {
  const std::vector<double> logits = {std::log(4.0), std::log(3.0), std::log(2.0), std::log(1.0)};
  const RowReference row(logits);
  const TopKQuality list = row.quality_of(std::vector<float>{1, 0, 0, 1});
  EXPECT_NEAR(list.mass, 0.5, 1e-12);
  EXPECT_NEAR(list.oracle_mass, 0.7, 1e-12);
  EXPECT_NEAR(list.recall, 0.5, 1e-12);
  EXPECT_NEAR(list.relative_mass, 5.0 / 7, 1e-12);
  EXPECT_EQ(list.tied, 0);
  const TopKQuality tied = row.quality_of(std::vector<float>{0.5F, 0.5F, 1, 0});
  EXPECT_NEAR(tied.mass, 0.2 + 0.15 + 0.2, 1e-12);
  EXPECT_NEAR(tied.recall, 0.5, 1e-12);
  EXPECT_EQ(tied.tied, 2);
  // A list of which the row sees nothing.
  EXPECT_DOUBLE_EQ(row.quality_of(std::vector<float>{0, 0, 0, 0}).mass, 0);
}

// Both ways to say which keys are kept agree, ties included.
TEST(MassLists, AgreesWithTopK) {
  std::vector<double> logits;
  std::vector<float> estimate;
  for (int j = 0; j < 200; ++j) {
    logits.push_back(std::sin(j * 1.7) * 3);
    estimate.push_back(static_cast<float>(std::round(std::sin(j * 1.7 + 0.2) * 8)));
  }
  const RowReference row(logits);
  for (const int64_t k : {1, 7, 50, 131, 200}) {
    const TopKQuality a = row.quality(estimate, k);
    const TopKQuality b = row.quality_of(choose_keys(estimate, k));
    EXPECT_NEAR(a.mass, b.mass, 1e-6) << k;
    EXPECT_NEAR(a.recall, b.recall, 1e-5) << k;
    EXPECT_DOUBLE_EQ(a.oracle_mass, b.oracle_mass) << k;
  }
}

}  // namespace
}  // namespace shadowattn::bench
