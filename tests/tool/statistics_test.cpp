#include "common/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace shadowattn::tool {
namespace {

TEST(SpreadAboutLine, IsZeroOnALine) {
  EXPECT_NEAR(spread_about_line({1, 2, 3, 4, 5}), 0, 1e-12);
  EXPECT_NEAR(spread_about_line({7, 7, 7}), 0, 1e-12);
}

TEST(SpreadAboutLine, IsTheRootMeanSquareOverTheMean) {
  // Off the best line, which is level at 10, by 1 each: -1, 1, 1, -1.
  EXPECT_NEAR(spread_about_line({9, 11, 11, 9}), 0.1, 1e-12);
  // One slow chunk of eight: 10 and otherwise 1, on a slope that was there before.
  EXPECT_GT(spread_about_line({1, 1.1, 1.2, 10, 1.4, 1.5, 1.6, 1.7}), 1);
}

TEST(SpreadAboutLine, NeedsThreeValues) {
  EXPECT_EQ(spread_about_line({}), 0);
  EXPECT_EQ(spread_about_line({1, 5}), 0);
}

}  // namespace
}  // namespace shadowattn::tool
