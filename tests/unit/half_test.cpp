#include "kernels/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace shadowattn {
namespace {

constexpr uint16_t kInfinityBits = 0x7C00;

/// From the definition of binary16, in double.
double value_of(uint16_t half) {
  const int exponent = (half >> 10) & 0x1F;
  const int mantissa = half & 0x3FF;
  const double sign = (half & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 31) {
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN()
                         : sign * std::numeric_limits<double>::infinity();
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(HalfTest, DecodesAllValues) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const double expected = value_of(half);
    const float got = half_to_float(half);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(got)) << bits;
    } else {
      ASSERT_EQ(static_cast<double>(got), expected) << bits;
      ASSERT_EQ(std::signbit(got), std::signbit(expected)) << bits;
    }
  }
}

TEST(HalfTest, RoundTripOfAllValues) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const uint16_t back = float_to_half(half_to_float(half));
    if (std::isnan(value_of(half))) {
      ASSERT_TRUE(std::isnan(value_of(back))) << bits;
      ASSERT_EQ(back & 0x8000, half & 0x8000) << bits;
    } else {
      ASSERT_EQ(back, half);
    }
  }
}

TEST(HalfTest, RoundsToNearestEven) {
  for (uint16_t half = 0; half < kInfinityBits; ++half) {
    const auto above = static_cast<uint16_t>(half + 1);
    // 65536 stands in for infinity: the midpoint 65520 already rounds up.
    const double high = above == kInfinityBits ? 65536.0 : value_of(above);
    const auto middle = static_cast<float>((value_of(half) + high) / 2);  // exact in f32
    const uint16_t even = (half & 1) == 0 ? half : above;
    const float below_middle = std::nextafter(middle, 0.0F);
    const float above_middle = std::nextafter(middle, std::numeric_limits<float>::infinity());
    ASSERT_EQ(float_to_half(middle), even) << half;
    ASSERT_EQ(float_to_half(below_middle), half);
    ASSERT_EQ(float_to_half(above_middle), above);
    ASSERT_EQ(float_to_half(-middle), even | 0x8000);
    ASSERT_EQ(float_to_half(-below_middle), half | 0x8000);
    ASSERT_EQ(float_to_half(-above_middle), above | 0x8000);
  }
}

TEST(HalfTest, ExtremesOfFloat) {
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::max()), kInfinityBits);
  EXPECT_EQ(float_to_half(-std::numeric_limits<float>::max()), kInfinityBits | 0x8000);
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::infinity()), kInfinityBits);
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(float_to_half(-std::numeric_limits<float>::denorm_min()), 0x8000);
  EXPECT_EQ(float_to_half(-0.0F), 0x8000);
  const float payload = std::bit_cast<float>(0x7F800001U);  // a NaN whose upper bits are zero
  EXPECT_TRUE(std::isnan(half_to_float(float_to_half(payload))));
}

}  // namespace
}  // namespace shadowattn
