// The published pairs of static scales, and the two rules to choose among them.
#include "measure/scale_pairs.h"

#include <gtest/gtest.h>

#include <limits>

namespace shadowattn::tool::measure {
namespace {

std::vector<ScalePair> pairs(int count) {
  auto result = scale_pairs({1.0F, 4.0F}, 0.5, count);
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.ok() ? std::move(result).value() : std::vector<ScalePair>{};
}

TEST(ScalePairs, AroundTheMean) {
  EXPECT_EQ(pairs(1), (std::vector<ScalePair>{{1, 4}}));
  EXPECT_EQ(pairs(3), (std::vector<ScalePair>{{0.5, 2}, {1, 4}, {2, 8}}));
  EXPECT_EQ(pairs(5), (std::vector<ScalePair>{{0.5, 4}, {1, 2}, {1, 4}, {1, 8}, {2, 4}}));
  EXPECT_EQ(pairs(9),
            (std::vector<ScalePair>{
                {0.5, 2}, {0.5, 4}, {0.5, 8}, {1, 2}, {1, 4}, {1, 8}, {2, 2}, {2, 4}, {2, 8}}));
}

TEST(ScalePairs, TwoStepsToEitherSide) {
  const std::vector<ScalePair> all = pairs(25);
  ASSERT_EQ(all.size(), 25U);
  EXPECT_EQ(all.front(), (ScalePair{0.25, 1}));
  EXPECT_EQ(all[12], (ScalePair{1, 4}));
  EXPECT_EQ(all.back(), (ScalePair{4, 16}));
}

TEST(ScalePairs, WhatMakesNone) {
  for (const int count : {0, 2, 4, 27, -1}) EXPECT_FALSE(scale_pairs({1, 1}, 0.5, count).ok());
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const float bad : {0.0F, -1.0F, kNan, std::numeric_limits<float>::infinity()}) {
    EXPECT_FALSE(scale_pairs({bad, 1}, 0.5, 9).ok()) << bad;
    EXPECT_FALSE(scale_pairs({1, bad}, 0.5, 9).ok()) << bad;
  }
  EXPECT_FALSE(scale_pairs({1, 1}, 1.0, 9).ok());
}

TEST(ScalePairs, NearestMayClip) {
  EXPECT_EQ(nearest_pair(pairs(9), {1.4F, 5.9F}), (ScalePair{1, 4}));
  EXPECT_EQ(nearest_pair(pairs(9), {1.6F, 6.1F}), (ScalePair{2, 8}));
  EXPECT_EQ(nearest_pair(pairs(9), {100, 100}), (ScalePair{2, 8}));
  EXPECT_EQ(nearest_pair(pairs(9), {1.5F, 4}), (ScalePair{1, 4})) << "the first of two as near";
  EXPECT_EQ(nearest_pair(pairs(1), {100, 0}), (ScalePair{1, 4}));
}

// Both axes far off: the cross can follow one of them only, and follows the larger error.
TEST(ScalePairs, FewerPairsTieTheAxes) {
  EXPECT_EQ(nearest_pair(pairs(5), {2, 8}), (ScalePair{1, 8}));
  EXPECT_EQ(nearest_pair(pairs(3), {2, 2}), (ScalePair{0.5, 2}));
}

TEST(ScalePairs, CoveringNeverClips) {
  EXPECT_EQ(covering_pair(pairs(9), {1.01F, 3}), (ScalePair{2, 4}));
  EXPECT_EQ(covering_pair(pairs(9), {1, 4}), (ScalePair{1, 4})) << "equal is enough";
  EXPECT_EQ(covering_pair(pairs(3), {1.01F, 3}), (ScalePair{2, 8}));
  EXPECT_EQ(covering_pair(pairs(5), {1.01F, 4.01F}), std::nullopt);
  EXPECT_EQ(covering_pair(pairs(9), {2.01F, 1}), std::nullopt);
  EXPECT_EQ(covering_pair(pairs(9), {0, 0}), (ScalePair{0.5, 2}));
}

}  // namespace
}  // namespace shadowattn::tool::measure
