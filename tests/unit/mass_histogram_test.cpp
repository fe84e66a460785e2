#include "select/mass_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/select/select.h"

namespace shadowattn {
namespace {

int16_t rank_of(float share) { return static_cast<int16_t>(std::bit_cast<uint32_t>(share) >> 16); }

/// Shares of many sizes, some keys hidden and some forced.
std::vector<int16_t> random_ranks(int64_t n, uint32_t seed, double octaves) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> exponent(-octaves, 0.0);
  std::vector<int16_t> ranks;
  for (int64_t j = 0; j < n; ++j) {
    const uint32_t kind = random() % 16;
    if (kind == 0) {
      ranks.push_back(kHiddenScore);
    } else if (kind == 1) {
      ranks.push_back(kForcedScore);
    } else {
      ranks.push_back(rank_of(static_cast<float>(std::exp2(exponent(random)))));
    }
  }
  return ranks;
}

std::vector<double> sorted_shares(const std::vector<int16_t>& ranks) {
  std::vector<double> shares;
  for (const int16_t rank : ranks) {
    if (rank >= 0 && rank != kForcedScore) shares.push_back(rank_share(rank));
  }
  std::sort(shares.begin(), shares.end());
  return shares;
}

TEST(RankShareTest, IsTheFloat) {
  EXPECT_EQ(rank_share(rank_of(1.0F)), 1.0);
  EXPECT_EQ(rank_share(rank_of(0x1.8p-9F)), 0x1.8p-9);
  EXPECT_EQ(rank_share(0), 0.0);
  EXPECT_EQ(rank_share(kHiddenScore), 0.0);
  EXPECT_EQ(rank_share(kForcedScore), 0.0);
  EXPECT_EQ(rank_share(0x7F80), 0.0) << "infinity";
}

TEST(MassHistogramTest, AgreesWithSortedShares) {
  MassHistogram histogram;
  histogram.reserve();
  for (const int64_t n : {1, 2, 3, 100, 1001, 20000}) {
    for (const double octaves : {0.5, 4.0, 30.0, 120.0}) {
      const std::vector<int16_t> ranks = random_ranks(n, static_cast<uint32_t>(n), octaves);
      const std::vector<double> shares = sorted_shares(ranks);
      histogram.count(ranks.data(), n);
      ASSERT_EQ(histogram.counted(), std::ssize(shares));
      const double mass = std::accumulate(shares.begin(), shares.end(), 0.0);
      // A share is taken for the middle of its bin, an eighth of an octave wide.
      constexpr double kHalfBin = 1.0 / 16;
      EXPECT_NEAR(histogram.mass(), mass, kHalfBin * mass);
      for (const double part : {0.0, 0.001, 0.01, 0.1, 0.5, 0.99}) {
        const int64_t dropped = histogram.droppable(part * mass);
        ASSERT_GE(dropped, 0);
        ASSERT_LE(dropped, std::ssize(shares));
        const double lost = std::accumulate(shares.begin(), shares.begin() + dropped, 0.0);
        EXPECT_LE(lost, part * mass * (1 + kHalfBin)) << n << " " << octaves << " " << part;
        EXPECT_NEAR(histogram.mass_of_smallest(dropped), lost, kHalfBin * lost);
        // Two more would be too many: one for the rounding down, one for the width of the bin.
        const auto more = std::min<int64_t>(std::ssize(shares), dropped + 1);
        double above = std::accumulate(shares.begin(), shares.begin() + more, 0.0);
        if (more < std::ssize(shares)) {
          EXPECT_GE(above, part * mass * (1 - kHalfBin));
        }
      }
      EXPECT_EQ(histogram.droppable(2 * mass), std::ssize(shares));
    }
  }
}

TEST(MassHistogramTest, EqualSharesAreDroppedOneByOne) {
  MassHistogram histogram;
  histogram.reserve();
  // The middle of a bin stands for itself.
  const std::vector<int16_t> ranks(1000, static_cast<int16_t>((0x3C00 | 0x8)));
  histogram.count(ranks.data(), 1000);
  EXPECT_EQ(histogram.droppable(histogram.mass() * 0.2505), 250);
  EXPECT_EQ(histogram.droppable(0.0), 0);
}

TEST(MassHistogramTest, NothingWeighsNothing) {
  MassHistogram histogram;
  histogram.reserve();
  const std::vector<int16_t> hidden(64, kHiddenScore);
  for (const int64_t n : {0, 64}) {
    histogram.count(hidden.data(), n);
    EXPECT_EQ(histogram.counted(), 0);
    EXPECT_EQ(histogram.mass(), 0.0);
    EXPECT_EQ(histogram.droppable(1.0), 0);
    EXPECT_EQ(histogram.mass_of_smallest(5), 0.0);
  }
}

}  // namespace
}  // namespace shadowattn
