// exp and tanh inside the attend kernels: as accurate as their comments state.
#include "kernels/attend/exp_impl.h"

#include <gtest/gtest.h>

#include "kernel_param.h"
#include "kernels/attend/attend.h"
#include "kernels/simd/generic.h"
#include "reference.h"

namespace shadowattn {
namespace {

/// Largest relative error of kernel.exp over `count` numbers from `low` to `high`.
double exp_error(const AttendKernel& kernel, float low, float high, int64_t count) {
  constexpr int64_t kChunk = 4096;
  std::vector<float> x(kChunk);
  std::vector<float> y(kChunk);
  double worst = 0.0;
  for (int64_t first = 0; first < count; first += kChunk) {
    for (int64_t i = 0; i < kChunk; ++i) {
      const double t = static_cast<double>(first + i) / static_cast<double>(count);
      x[static_cast<size_t>(i)] = static_cast<float>(low + t * (high - low));
    }
    kernel.exp(x.data(), kChunk, y.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = std::exp(static_cast<double>(x[i]));
      worst = std::max(worst, std::fabs(static_cast<double>(y[i]) - exact) / exact);
    }
  }
  return worst;
}

class ExpTest : public testing::TestWithParam<AttendKernel> {};

TEST_P(ExpTest, IsAsAccurateAsStated) {
  const AttendKernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const double worst =
      std::max({exp_error(kernel, -87.3F, 0.0F, 1 << 21), exp_error(kernel, -1.0F, 0.0F, 1 << 20),
                exp_error(kernel, -0x1p-10F, 0.0F, 1 << 14)});
  RecordProperty("relative_error_in_2^-24", std::to_string(worst / test::kUnit));
  EXPECT_LT(worst, test::kExpError) << worst / test::kUnit << " · 2^-24";
}

TEST_P(ExpTest, AtTheEdges) {
  const AttendKernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> x = {0.0F,       -0.0F,
                          -87.3F,     std::nextafter(-87.3F, -inf),
                          -88.0F,     -1000.0F,
                          -inf,       nan,
                          -nan,       -std::numeric_limits<float>::max(),
                          1.0F,       88.0F,
                          -0x1p-149F, 0x1p-149F,
                          -1.0F,      -87.0F};
  std::vector<float> y(x.size());
  kernel.exp(x.data(), 16, y.data());
  EXPECT_EQ(y[0], 1.0F);
  EXPECT_EQ(y[1], 1.0F);
  EXPECT_GT(y[2], 0.0F);
  for (const size_t i : {3U, 4U, 5U, 6U, 9U}) EXPECT_EQ(y[i], 0.0F) << x[i];
  EXPECT_TRUE(std::isnan(y[7]));
  EXPECT_TRUE(std::isnan(y[8]));
  EXPECT_NEAR(y[11] / std::exp(88.0), 1.0, test::kExpError);
  EXPECT_EQ(y[12], 1.0F);
  EXPECT_EQ(y[13], 1.0F);
}

INSTANTIATE_TEST_SUITE_P(Kernels, ExpTest, testing::ValuesIn(attend_kernels()),
                         test::kernel_name<AttendKernel>);

TEST(TanhTest, IsAsAccurateAsStated) {
  using Simd = simd::Generic;
  double worst = 0.0;
  for (int64_t i = 0; i < 1 << 20; i += Simd::kLanes) {
    float x[Simd::kLanes];
    float y[Simd::kLanes];
    for (int lane = 0; lane < Simd::kLanes; ++lane) {
      const double t = static_cast<double>(i + lane) / (1 << 20);
      x[lane] = static_cast<float>(24.0 * (t - 0.5) * std::fabs(2.0 * t - 1.0));
    }
    Simd::store(y, vector_tanh<Simd>(Simd::load(x)));
    for (int lane = 0; lane < Simd::kLanes; ++lane) {
      const double error = y[lane] - std::tanh(static_cast<double>(x[lane]));
      worst = std::max(worst, std::fabs(error));
      ASSERT_LE(std::fabs(y[lane]), 1.0F);
    }
  }
  EXPECT_LT(worst, test::kTanhError) << worst / test::kUnit << " · 2^-24";
}

}  // namespace
}  // namespace shadowattn
