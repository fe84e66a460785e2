#include "kernels/pilot_dot/requantise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "random_tensor.h"
#include "reference.h"

namespace shadowattn {
namespace {

std::vector<Requantisation> all_valid() {
  std::vector<Requantisation> all;
  for (int32_t mantissa = 128; mantissa <= 32767; ++mantissa) all.push_back({mantissa, 0});
  for (int32_t shift = 1; shift <= 15; ++shift) {
    for (int32_t mantissa = 128; mantissa <= 255; ++mantissa) all.push_back({mantissa, shift});
  }
  return all;
}

/// By definition: the largest multiplier that is not above x.
Requantisation search_below(const std::vector<Requantisation>& all, double x) {
  const Requantisation* best = nullptr;
  const Requantisation* smallest = nullptr;
  for (const Requantisation& r : all) {
    const double m = r.mantissa / std::pow(2.0, 15 + r.shift);
    if (smallest == nullptr || m < smallest->multiplier()) smallest = &r;
    if (m <= x && (best == nullptr || m > best->multiplier())) best = &r;
  }
  return best != nullptr ? *best : *smallest;
}

TEST(RequantisationTest, ValidIsWhatTheHeaderSays) {
  const std::vector<Requantisation> all = all_valid();
  size_t valid = 0;
  for (int32_t shift = -3; shift <= 40; ++shift) {
    for (int32_t mantissa = -300; mantissa <= 33000; ++mantissa) {
      valid += Requantisation{mantissa, shift}.valid() ? 1 : 0;
    }
  }
  EXPECT_EQ(valid, all.size());
  for (const Requantisation& r : all) ASSERT_TRUE(r.valid()) << r.mantissa << " " << r.shift;
  constexpr int32_t kLowest = std::numeric_limits<int32_t>::min();
  constexpr int32_t kHighest = std::numeric_limits<int32_t>::max();
  for (const int32_t extreme : {kLowest, kHighest}) {
    EXPECT_FALSE((Requantisation{extreme, 0}.valid()));
    EXPECT_FALSE((Requantisation{128, extreme}.valid()));
  }
  EXPECT_TRUE(Requantisation().valid());
}

TEST(RequantisationTest, Multiplier) {
  EXPECT_EQ((Requantisation{32767, 0}.multiplier()), 32767.0 / 32768.0);
  EXPECT_EQ((Requantisation{128, 0}.multiplier()), 0x1p-8);
  EXPECT_EQ((Requantisation{255, 15}.multiplier()), 255 * 0x1p-30);
}

TEST(RequantisationTest, BelowFindsEveryValidOneAndItsNeighbour) {
  std::vector<Requantisation> all = all_valid();
  std::sort(all.begin(), all.end(), [](const Requantisation& a, const Requantisation& b) {
    return a.multiplier() < b.multiplier();
  });
  for (size_t i = 0; i < all.size(); ++i) {
    const double m = all[i].multiplier();
    if (i > 0) {
      ASSERT_GT(m, all[i - 1].multiplier());  // no multiplier has two forms
    }
    ASSERT_EQ(requantisation_below(m), all[i]) << m;
    ASSERT_EQ(requantisation_below(std::nextafter(m, 2.0)), all[i]) << m;
    ASSERT_EQ(requantisation_below(std::nextafter(m, 0.0)), all[i > 0 ? i - 1 : 0]) << m;
  }
}

TEST(RequantisationTest, BelowMatchesExhaustiveSearch) {
  const std::vector<Requantisation> all = all_valid();
  test::Random random(1);
  for (int i = 0; i < 300; ++i) {
    const double x = std::exp2(-26.0 * random.uniform() + 1.0);
    const Requantisation got = requantisation_below(x);
    ASSERT_TRUE(got.valid());
    ASSERT_EQ(got, search_below(all, x)) << x;
  }
}

TEST(RequantisationTest, BelowTakesAnything) {
  const Requantisation smallest{128, 15};
  const Requantisation largest{32767, 0};
  for (const double x : {test::kNan, -test::kInfinity, -1.0, -0.0, 0.0, 5e-324, 0x1p-24,
                         std::nextafter(0x1p-23, 0.0), 0x1p-23}) {
    EXPECT_EQ(requantisation_below(x), smallest) << x;
  }
  for (const double x : {32767.0 / 32768.0, 1.0, 1.5, 1e300, test::kInfinity}) {
    EXPECT_EQ(requantisation_below(x), largest) << x;
  }
}

TEST(RequantiseTest, MatchesTheFormulaOnAnySum) {
  test::Random random(2);
  std::vector<int32_t> sums = {0,
                               1,
                               -1,
                               std::numeric_limits<int32_t>::max(),
                               std::numeric_limits<int32_t>::min(),
                               256 * 127 * 127};
  for (int i = 0; i < 400; ++i) {
    sums.push_back(static_cast<int32_t>(random.bits() >> random.integer(33, 63)) *
                   (i % 2 == 0 ? 1 : -1));
  }
  for (const Requantisation& r : all_valid()) {
    if (r.shift == 0 && r.mantissa > 256 && r.mantissa % 173 != 0 && r.mantissa < 32760) continue;
    for (const int32_t acc : sums) {
      ASSERT_EQ(requantise(acc, r), test::reference_requantised(acc, r.mantissa, r.shift))
          << acc << " · " << r.mantissa << " >> " << r.shift;
    }
  }
}

TEST(RequantiseTest, IsCloseToTheMultiplierAndMonotone) {
  for (const Requantisation r :
       {Requantisation{128, 15}, Requantisation{200, 7}, Requantisation{255, 1},
        Requantisation{130, 0}, Requantisation{20000, 0}, Requantisation{32767, 0}}) {
    int8_t before = -127;
    for (int32_t acc = -256 * 127 * 127; acc <= 256 * 127 * 127; acc += 61) {
      const int8_t score = requantise(acc, r);
      ASSERT_GE(score, before);
      before = score;
      const double exact = std::fmin(std::fmax(acc * r.multiplier(), -127.0), 127.0);
      // Half a unit each: of the result, and of the shifted sum.
      ASSERT_LE(std::fabs(score - exact), 0.5 + 0.5 * r.mantissa / 32768.0);
    }
  }
}

TEST(RequantiseTest, HalvesGoUp) {
  EXPECT_EQ(requantise(1, {16384, 0}), 1);     // 0.5
  EXPECT_EQ(requantise(-1, {16384, 0}), 0);    // -0.5
  EXPECT_EQ(requantise(3, {16384, 0}), 2);     // 1.5
  EXPECT_EQ(requantise(-3, {16384, 0}), -1);   // -1.5
  EXPECT_EQ(requantise(1 << 8, {128, 1}), 1);  // 128 · 2^-8
  EXPECT_EQ(requantise(255, {128, 1}), 1);     // the sum's own half goes up first
}

}  // namespace
}  // namespace shadowattn
