// Figures of the paper's experiments, against values worked out by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "paper/scale_samples.h"
#include "paper/score_spread.h"
#include "paper/share_profile.h"

namespace shadowattn::tool::paper {
namespace {

constexpr double kRounding = 1e-12;  // of sums of a hundred doubles near 1

measure::RowReference row_of(const std::vector<double>& shares) {
  std::vector<double> logits;
  for (const double share : shares) logits.push_back(std::log(share));
  return measure::RowReference(logits);
}

// One token holds 0.901, the 99 others 0.001 each.
std::vector<double> peaked() {
  std::vector<double> shares(100, 0.001);
  shares[40] = 0.901;
  return shares;
}

TEST(ScoreSpread, APeakedRow) {
  ScoreSpread spread;
  spread.add(row_of(peaked()));
  const ScoreFigures figures = spread.mean();
  EXPECT_NEAR(figures.below[0], 0.99, kRounding);
  EXPECT_NEAR(figures.below[1], 0.99, kRounding);
  EXPECT_NEAR(figures.needed[0], 0.01, kRounding) << "the one token is enough for 90 %";
  // 0.95 needs 49 more tokens, 0.99 needs 89 more; which of two counts it is, rounding decides.
  EXPECT_NEAR(figures.needed[1], 0.50, 0.01 + kRounding);
  EXPECT_NEAR(figures.needed[2], 0.90, 0.01 + kRounding);
  EXPECT_NEAR(figures.top[0], 0.901 + 4 * 0.001, kRounding);
  EXPECT_NEAR(figures.top[1], 0.901 + 9 * 0.001, kRounding);
  EXPECT_NEAR(figures.top[2], 0.901 + 19 * 0.001, kRounding);
  EXPECT_NEAR(figures.curve.front(), 0.901, kRounding);
  EXPECT_NEAR(figures.curve.back(), 1, kRounding);
}

TEST(ScoreSpread, EqualScores) {
  ScoreSpread spread;
  spread.add(row_of(std::vector<double>(40, 1.0)));
  const ScoreFigures figures = spread.mean();
  EXPECT_EQ(figures.below[0], 0) << "each is 0.025";
  EXPECT_EQ(figures.below[1], 1);
  EXPECT_NEAR(figures.needed[0], 0.9, 1.0 / 40 + kRounding);
  EXPECT_NEAR(figures.top[2], 0.2, kRounding);
}

TEST(ScoreSpread, OneTokenIsEverything) {
  ScoreSpread spread;
  spread.add(row_of({1.0}));
  for (const double needed : spread.mean().needed) EXPECT_EQ(needed, 1);
  for (const double mass : spread.mean().top) EXPECT_EQ(mass, 1);
}

TEST(ScoreSpread, RowsCountTheSame) {
  ScoreSpread peak;
  peak.add(row_of(peaked()));
  ScoreSpread both;
  both.add(peak);
  both.add(row_of({1.0}));
  EXPECT_EQ(both.rows(), 2);
  EXPECT_NEAR(both.mean().needed[0], (0.01 + 1) / 2, kRounding);
  EXPECT_EQ(ScoreSpread().mean().needed[0], 0);
}

// Two query heads that read one KV head, two dimensions; [head][row][dim].
struct Operands {
  std::vector<float> query = {127, 0, 254, 0, 0, -1270, 0, 127};
  std::vector<float> key = {127, 127, 381, 127, 254, 127};
  AttentionCall call;

  Operands() {
    call.layer = 3;
    call.query = view(query, 2, 2);
    call.key = view(key, 1, 3);
  }
  Operands(const Operands&) = delete;
  Operands& operator=(const Operands&) = delete;

  static TensorView view(const std::vector<float>& elements, int64_t heads, int64_t rows) {
    TensorView view;
    view.data = elements.data();
    view.type = ElementType::kF32;
    view.heads = heads;
    view.rows = rows;
    view.dim = 2;
    view.row_stride = 2 * static_cast<int64_t>(sizeof(float));
    view.head_stride = rows * view.row_stride;
    return view;
  }
};

TEST(ScaleSamples, WhatHeadsNeedAndGet) {
  const Operands operands;
  const std::vector<measure::ScalePair> pairs = {{1, 1}, {2, 3}, {4, 6}};
  const std::vector<ScaleSample> samples = sample_scales(operands.call, 0, 3, pairs);
  ASSERT_EQ(samples.size(), 2U);
  EXPECT_EQ(samples[0].layer, 3);
  EXPECT_EQ(samples[0].head, 0);
  EXPECT_EQ(samples[0].needed, (measure::ScalePair{2, 3}));
  EXPECT_EQ(samples[0].pair, 1U);
  EXPECT_EQ(samples[0].clipped_queries, 0);
  EXPECT_EQ(samples[0].clipped_keys, 0);
  EXPECT_FALSE(is_clipped(samples[0], pairs));
  // The second head's largest query needs 10, the last pair has 4: one element of four is cut off.
  EXPECT_EQ(samples[1].head, 1);
  EXPECT_EQ(samples[1].needed, (measure::ScalePair{10, 3}));
  EXPECT_EQ(samples[1].pair, 2U);
  EXPECT_EQ(samples[1].clipped_queries, 0.25);
  EXPECT_EQ(samples[1].clipped_keys, 0);
  EXPECT_TRUE(is_clipped(samples[1], pairs));
}

TEST(ScaleSamples, OnlyKeysThatAreSeen) {
  const Operands operands;
  const std::vector<measure::ScalePair> pairs = {{1, 1}};
  const std::vector<ScaleSample> samples = sample_scales(operands.call, 2, 3, pairs);
  EXPECT_EQ(samples[0].needed.key, 2);
  EXPECT_EQ(samples[0].clipped_keys, 0.5);
}

TEST(ScaleSamples, TheGridTakesKeysWithoutTheirMean) {
  const Operands operands;
  const std::vector<measure::ScalePair> pairs = {{1, 1}};
  const ScaleSample sample = sample_scales(operands.call, 0, 3, pairs).front();
  // Without the mean (254, 127) the largest element is 127, and the grid has powers of two.
  EXPECT_EQ(sample.grid.key, 1);
  EXPECT_EQ(sample.grid.query, 2);
}

TEST(ShareProfile, SharesFollowImportanceOfKvHeads) {
  const HeadShape shape = {64, 2, 1};
  Importance importance;
  importance.layers = {0.5, 0.5};
  importance.heads = {{0.3, 0.1}, {0.1, 0.1}};  // KV heads: 0.1 and 0.05
  const Profile profile = share_profile(importance, shape, 0.3);
  ASSERT_EQ(profile.layers.size(), 2U);
  const LayerProfile& first = profile.layers[0];
  EXPECT_EQ(first.head_dim, 64);
  ASSERT_EQ(first.heads.size(), 2U);
  ASSERT_EQ(first.kv_heads.size(), 1U);
  EXPECT_EQ(first.kv_heads[0].lists, (ListShape{false, 1, false}));
  // The average is found by halving intervals down to neighbouring doubles.
  constexpr double kSolved = 1e-9;
  EXPECT_NEAR(first.heads[0].keep, 0.4, kSolved);
  EXPECT_NEAR(first.heads[1].keep, 0.4, kSolved) << "they share a KV head";
  EXPECT_NEAR(profile.layers[1].heads[0].keep, 0.2, kSolved);
}

TEST(ShareProfile, HeadsWithoutImportanceGetTheLeast) {
  const HeadShape shape = {64, 1, 1};
  Importance importance;
  importance.layers = {0.5, 0.5};
  importance.heads = {{0.3}, {0.0}};
  const Profile profile = share_profile(importance, shape, 0.2);
  constexpr double kSolved = 1e-9;
  EXPECT_NEAR(profile.layers[0].heads[0].keep, 0.4 - kLeastShare, kSolved);
  EXPECT_NEAR(profile.layers[1].heads[0].keep, kLeastShare, kSolved);
}

TEST(ShareProfile, NoHeadKeepsEverything) {
  Importance importance;
  importance.layers = {0.5, 0.5};
  importance.heads = {{0.9}, {0.0}};
  const Profile profile = share_profile(importance, {64, 1, 1}, 0.6);
  EXPECT_EQ(profile.layers[0].heads[0].keep, kMostShare);
}

}  // namespace
}  // namespace shadowattn::tool::paper
