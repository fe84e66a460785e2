// Static scales and multipliers against a search of the whole grid.
#include "device/scale_grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "random_tensor.h"

namespace shadowattn {
namespace {

using test::Random;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

std::optional<float> choose(const ScaleGrid& grid, std::vector<float> rows, double share = 0.0) {
  return choose_scale(grid, rows, share);
}

std::optional<float> nearest(const ScaleGrid& grid, std::vector<float> rows) {
  return nearest_scale(grid, rows);
}

bool few_enough(const std::vector<float>& rows, float scale, double share) {
  const auto above = std::count_if(rows.begin(), rows.end(), [&](float r) { return r > scale; });
  return static_cast<double>(above) <= share * static_cast<double>(rows.size());
}

TEST(ScaleGridTest, GeometricGridGoesFromTinyToHugeInHalfBits) {
  const ScaleGrid grid = geometric_grid();
  ASSERT_EQ(grid.scales.size(), 41U);
  EXPECT_FALSE(grid.exact);
  EXPECT_EQ(grid.scales.front(), std::ldexp(1.0F, -14));
  EXPECT_EQ(grid.scales.back(), 64.0F);
  for (size_t i = 1; i < grid.scales.size(); ++i) {
    EXPECT_NEAR(grid.scales[i] / grid.scales[i - 1], kGridRatio, 1e-6);
    EXPECT_TRUE(i % 2 == 1 || grid.scales[i] == 2.0F * grid.scales[i - 2]) << i;
  }
}

TEST(ScaleGridTest, SpreadGridIsCentredOnTheMean) {
  EXPECT_EQ(spread_grid(0.15, 0.5, 3).value().scales, (std::vector<float>{0.075F, 0.15F, 0.3F}));
  EXPECT_EQ(spread_grid(0.15, 2.0, 3).value().scales, (std::vector<float>{0.075F, 0.15F, 0.3F}));
  EXPECT_EQ(spread_grid(8.0, 0.5, 5).value().scales, (std::vector<float>{2, 4, 8, 16, 32}));
  EXPECT_EQ(spread_grid(0.15, 0.5, 1).value().scales, (std::vector<float>{0.15F}));
  EXPECT_FALSE(spread_grid(0.15, 0.5, 3).value().exact);
}

TEST(ScaleGridTest, SpreadGridRejectsWhatIsNoGrid) {
  for (const double mean : {0.0, -1.0, test::kNan, test::kInfinity, 1e-38, 1e38}) {
    EXPECT_EQ(spread_grid(mean, 0.1, 3).status().code(), StatusCode::kInvalidArgument) << mean;
  }
  for (const double step : {0.0, -0.5, 1.0, test::kNan, test::kInfinity, 1.0 - 1e-12, 1e-300}) {
    EXPECT_EQ(spread_grid(1.0, step, 3).status().code(), StatusCode::kInvalidArgument) << step;
  }
  for (const int count : {-1, 0, 2, 4, 256, 257}) {
    EXPECT_EQ(spread_grid(1.0, 0.99, count).status().code(), StatusCode::kInvalidArgument) << count;
  }
  EXPECT_TRUE(spread_grid(1.0, 0.99, 255).ok());
}

TEST(ScaleGridTest, ChoosesTheSmallestScaleThatClipsFewRows) {
  Random random(1);
  std::mt19937_64 shuffle(1);
  const ScaleGrid grids[] = {geometric_grid(), spread_grid(0.1, 0.5, 3).value(),
                             spread_grid(0.1, 0.9, 9).value()};
  for (int trial = 0; trial < 2000; ++trial) {
    const ScaleGrid& grid = grids[trial % 3];
    std::vector<float> rows(static_cast<size_t>(random.integer(1, 70)));
    for (float& row : rows) {
      row = static_cast<float>(0.1 * std::exp(random.normal()));
      if (random.chance(0.1)) row = 0.0F;
      if (random.chance(0.1)) row = grid.scales[random.bits() % grid.scales.size()];
      if (random.chance(0.02)) row = kInf;
    }
    const double share = trial % 5 == 0 ? 0.0 : random.uniform();
    std::optional<float> expected;
    for (size_t i = grid.scales.size(); i-- > 0;) {
      if (few_enough(rows, grid.scales[i], share)) expected = grid.scales[i];
    }
    EXPECT_EQ(choose(grid, rows, share), expected) << "trial " << trial;
    std::shuffle(rows.begin(), rows.end(), shuffle);
    EXPECT_EQ(choose(grid, rows, share), expected) << "trial " << trial;
  }
}

TEST(ScaleGridTest, ExactGridGivesTheRowScaleItself) {
  const ScaleGrid exact = {.scales = {}, .exact = true};
  EXPECT_EQ(choose(exact, {0.3F, 0.1F, 0.7F, 0.2F}), 0.7F);
  EXPECT_EQ(choose(exact, {0.3F, 0.1F, 0.7F, 0.2F}, 0.25), 0.3F);
  EXPECT_EQ(choose(exact, {0.3F, 0.1F, 0.7F, 0.2F}, 0.49), 0.3F);
  EXPECT_EQ(choose(exact, {0.3F, 0.1F, 0.7F, 0.2F}, 0.5), 0.2F);
  EXPECT_EQ(choose(exact, {0.3F, 0.1F, 0.7F, 0.2F}, 1.0), 0.1F);
  EXPECT_EQ(choose(exact, {0.0F, 0.0F, 0.7F, 0.2F}, 0.5), 0.2F) << "zero is no scale";
  EXPECT_EQ(choose(exact, {0.0F, 0.0F}), 1.0F);
  EXPECT_EQ(choose(exact, {}), 1.0F);
  EXPECT_EQ(choose(exact, {1.0F, kInf}), std::nullopt);
  EXPECT_EQ(choose(exact, {1.0F, kInf}, 0.5), 1.0F);
  EXPECT_EQ(choose(exact, {0.0F, kInf}, 0.5), 1.0F);
}

TEST(ScaleGridTest, ExtremesOfRowsAndShares) {
  const ScaleGrid grid = {.scales = {1.0F, 2.0F, 4.0F}};
  EXPECT_EQ(choose(grid, {}), 1.0F);
  EXPECT_EQ(choose(grid, {0.0F, 0.0F}), 1.0F);
  EXPECT_EQ(choose(grid, {1.0F}), 1.0F);
  EXPECT_EQ(choose(grid, {std::nextafter(1.0F, 2.0F)}), 2.0F);
  EXPECT_EQ(choose(grid, {4.0F}), 4.0F);
  EXPECT_EQ(choose(grid, {std::nextafter(4.0F, 5.0F)}), std::nullopt);
  for (const float bad : {kNotANumber, kInf, -1.0F, -kInf}) {
    EXPECT_EQ(choose(grid, {bad, 2.0F}), std::nullopt) << bad;
    EXPECT_EQ(choose(grid, {2.0F, bad}, 0.5), 2.0F) << bad;
  }
  for (const double none : {-1.0, -test::kInfinity, test::kNan}) {
    EXPECT_EQ(choose(grid, {2.0F, 4.0F}, none), 4.0F);
  }
  for (const double all : {1.0, 2.0, test::kInfinity}) {
    EXPECT_EQ(choose(grid, {2.0F, 4.0F, kInf}, all), 1.0F);
  }
}

TEST(ScaleGridTest, NearestRoundsDownAndClips) {
  const ScaleGrid grid = {.scales = {1.0F, 2.0F, 4.0F}};
  EXPECT_EQ(nearest(grid, {0.1F, 1.49F, 1.0F}), 1.0F);
  EXPECT_EQ(nearest(grid, {1.5F}), 1.0F) << "the first minimum wins";
  EXPECT_EQ(nearest(grid, {1.51F}), 2.0F);
  EXPECT_EQ(nearest(grid, {2.99F}), 2.0F);
  EXPECT_EQ(nearest(grid, {3.01F}), 4.0F);
  EXPECT_EQ(nearest(grid, {1e30F}), 4.0F);
  EXPECT_EQ(nearest(grid, {0.0F}), 1.0F);
  EXPECT_EQ(nearest(grid, {}), 1.0F);
  EXPECT_EQ(nearest(grid, {1.0F, kInf}), std::nullopt);
  EXPECT_EQ(nearest(grid, {kNotANumber, 1.0F}), std::nullopt);
  EXPECT_EQ(nearest({.scales = {}, .exact = true}, {0.25F, 0.5F}), 0.5F);
}

int saturated(const std::vector<int16_t>& sums, Requantisation r) {
  return static_cast<int>(std::count_if(sums.begin(), sums.end(), [&](int16_t sum) {
    const double magnitude = std::min(std::abs(static_cast<double>(sum)), 32767.0);
    return magnitude * kSampledSumUnit * r.multiplier() > 127.0;
  }));
}

Requantisation choose_multiplier(std::vector<int16_t> sums, double share) {
  return choose_requantisation(sums, share);
}

/// Every multiplier of the grid, the largest first.
std::vector<Requantisation> multipliers() {
  std::vector<Requantisation> all;
  for (int step = 0; step <= 46; ++step) {
    all.push_back(requantisation_below(std::pow(2.0, -step / 2.0)));
  }
  return all;
}

TEST(RequantisationChoiceTest, IsTheLargestThatSaturatesFewSums) {
  Random random(2);
  for (int trial = 0; trial < 3000; ++trial) {
    std::vector<int16_t> sums(static_cast<size_t>(random.integer(1, 90)));
    const double spread = std::exp2(15.0 * random.uniform());
    for (int16_t& sum : sums) {
      sum = static_cast<int16_t>(std::clamp(spread * random.normal(), -32768.0, 32767.0));
    }
    const double share = trial % 4 == 0 ? 0.0 : 0.5 * random.uniform();
    const double allowed = share * static_cast<double>(sums.size());
    Requantisation expected;
    for (const Requantisation& r : multipliers()) {
      expected = r;
      if (saturated(sums, r) <= allowed) break;
    }
    EXPECT_EQ(choose_multiplier(sums, share), expected) << "trial " << trial;
  }
}

TEST(RequantisationChoiceTest, EveryMagnitudeAlone) {
  const std::vector<Requantisation> all = multipliers();
  size_t step = 0;  // larger sums never want a larger multiplier
  for (int magnitude = 0; magnitude <= 32767; ++magnitude) {
    const std::vector<int16_t> sums = {static_cast<int16_t>(-magnitude)};
    while (saturated(sums, all[step]) > 0) ++step;
    ASSERT_EQ(choose_multiplier(sums, 0.0), all[step]) << magnitude;
    ASSERT_TRUE(all[step].valid());
  }
}

TEST(RequantisationChoiceTest, Extremes) {
  const Requantisation largest = multipliers().front();
  EXPECT_EQ(choose_multiplier({}, 0.0), largest);
  EXPECT_EQ(choose_multiplier({0, 0, 0}, 0.0), largest);
  EXPECT_EQ(choose_multiplier({-32768}, 0.0), choose_multiplier({32767}, 0.0));
  EXPECT_EQ(choose_multiplier({-32768, 1}, 0.5), choose_multiplier({1}, 0.0));
  EXPECT_EQ(choose_multiplier({30000, -30000}, 1.0), largest);
  EXPECT_EQ(choose_multiplier({30000, 1}, test::kNan), choose_multiplier({30000}, 0.0));
  EXPECT_EQ(choose_multiplier({30000, 1}, -1.0), choose_multiplier({30000}, 0.0));
}

}  // namespace
}  // namespace shadowattn
