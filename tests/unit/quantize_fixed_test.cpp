// The functions of `quantize` for scales that are fixed beforehand.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "kernel_param.h"
#include "kernels/quantize/quantize.h"
#include "q8_0_tensor.h"
#include "random_tensor.h"

namespace shadowattn {
namespace {

using test::Content;
using test::Layout;
using test::Q8Tensor;
using test::Tensor;

constexpr int8_t kUntouched = 99;
constexpr ElementType kTypes[] = {ElementType::kF32, ElementType::kF16, ElementType::kQ8_0};

struct TypeCase {
  std::string label;
  ElementType type;
  Layout layout;
};

std::vector<TypeCase> type_cases() {
  std::vector<TypeCase> cases;
  for (const Layout layout : test::kLayouts) {
    cases.push_back({std::string("f32_") + test::name(layout), ElementType::kF32, layout});
    cases.push_back({std::string("f16_") + test::name(layout), ElementType::kF16, layout});
    cases.push_back({std::string("q8_0_") + test::name(layout), ElementType::kQ8_0, layout});
  }
  return cases;
}

std::vector<float> random_mean(int64_t dim, uint64_t seed) {
  test::Random random(seed);
  std::vector<float> mean;
  for (int64_t d = 0; d < dim; ++d) mean.push_back(static_cast<float>(3.0 * random.normal()));
  return mean;
}

float centred(const TensorView& x, int64_t r, int64_t d, const float* mean) {
  const float value = test::element(x, 0, r, d);
  return mean == nullptr ? value : value - mean[d];
}

void expect_row_scales(const QuantizeKernel& kernel, const TensorView& x, const float* mean) {
  std::vector<float> scale(static_cast<size_t>(x.rows) + 1, -1.0F);
  const bool finite =
      kernel.of(x.type).row_scales(x.row(0, 0), x.row_stride, x.rows, x.dim, mean, scale.data());
  bool all_finite = true;
  for (int64_t r = 0; r < x.rows; ++r) {
    bool row_finite = true;
    float absmax = 0.0F;
    for (int64_t d = 0; d < x.dim; ++d) {
      const float v = std::fabs(centred(x, r, d, mean));
      row_finite = row_finite && std::isfinite(v);
      absmax = std::max(absmax, v);
    }
    all_finite = all_finite && row_finite;
    const float expected = row_finite && absmax >= 0x1p-100F ? absmax / 127.0F : 0.0F;
    ASSERT_EQ(std::bit_cast<uint32_t>(scale[static_cast<size_t>(r)]),
              std::bit_cast<uint32_t>(expected))
        << "row " << r;
  }
  EXPECT_EQ(finite, all_finite);
  EXPECT_EQ(scale.back(), -1.0F);
}

void expect_fixed(const QuantizeKernel& kernel, const TensorView& x, const float* mean,
                  float inverse) {
  std::vector<int8_t> q(static_cast<size_t>(x.rows * x.dim) + 1, kUntouched);
  const int64_t got =
      kernel.of(x.type).fixed(x.row(0, 0), x.row_stride, x.rows, x.dim, mean, inverse, q.data());
  int64_t clipped = 0;
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t d = 0; d < x.dim; ++d) {
      const float v = centred(x, r, d, mean) * inverse;
      clipped += std::fabs(v) > 127.5F ? 1 : 0;
      const float clamped = std::fmin(std::fmax(v, -127.0F), 127.0F);
      ASSERT_EQ(q[static_cast<size_t>(r * x.dim + d)], std::nearbyint(clamped))
          << "row " << r << " dim " << d << " of " << x.dim << ": " << v;
    }
  }
  EXPECT_EQ(got, clipped);
  EXPECT_EQ(q.back(), kUntouched);
}

void expect_sums(const QuantizeKernel& kernel, const TensorView& x, std::vector<float> sum) {
  std::vector<float> expected = sum;
  sum.push_back(-1.0F);
  kernel.of(x.type).add_rows(x.row(0, 0), x.row_stride, x.rows, x.dim, sum.data());
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t d = 0; d < x.dim; ++d) {
      expected[static_cast<size_t>(d)] += test::element(x, 0, r, d);
    }
  }
  for (size_t d = 0; d < expected.size(); ++d) {
    ASSERT_EQ(std::bit_cast<uint32_t>(sum[d]), std::bit_cast<uint32_t>(expected[d])) << "dim " << d;
  }
  EXPECT_EQ(sum.back(), -1.0F);
}

void expect_all(const QuantizeKernel& kernel, const TensorView& x) {
  const std::vector<float> mean = random_mean(x.dim, 5);
  for (const float* m : {static_cast<const float*>(nullptr), mean.data()}) {
    expect_row_scales(kernel, x, m);
    // From few steps to nearly all clipped.
    for (const float inverse : {0.37F, 31.7F, 127.0F, 5000.0F}) {
      expect_fixed(kernel, x, m, inverse);
    }
  }
  expect_sums(kernel, x, mean);
}

class QuantizeFixedCaseTest
    : public testing::TestWithParam<test::KernelParam<QuantizeKernel, TypeCase>> {};

TEST_P(QuantizeFixedCaseTest, MatchesReference) {
  const QuantizeKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const TypeCase& c = GetParam().data;
  for (const int64_t dim : {32, 64, 96, 256, 16, 48, 80, 240}) {
    for (const Content content : {Content::kNormal, Content::kOutliers}) {
      const auto seed = static_cast<uint64_t>(dim);
      if (c.type == ElementType::kQ8_0) {
        if (dim % kQ8BlockElements != 0) continue;
        expect_all(kernel, Q8Tensor::random(2, 7, dim, c.layout, seed, content).view());
        continue;
      }
      Tensor x(c.type, 2, 7, dim, c.layout);
      x.fill_random(seed, content);
      expect_all(kernel, x.view());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, QuantizeFixedCaseTest,
                         testing::ValuesIn(test::cross(quantize_kernels(), type_cases())),
                         test::param_label<QuantizeFixedCaseTest::ParamType>);

class QuantizeFixedTest : public testing::TestWithParam<QuantizeKernel> {};

TEST_P(QuantizeFixedTest, NoRows) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const ElementType type : kTypes) {
    const QuantizeFunctions& functions = GetParam().of(type);
    EXPECT_TRUE(functions.row_scales(nullptr, 64, 0, 32, nullptr, nullptr));
    EXPECT_EQ(functions.fixed(nullptr, 64, 0, 32, nullptr, 1.0F, nullptr), 0);
    std::vector<float> sum(32, 2.0F);
    functions.add_rows(nullptr, 64, 0, 32, sum.data());
    for (const float s : sum) EXPECT_EQ(s, 2.0F);
  }
}

TEST_P(QuantizeFixedTest, TiesGoToEvenAndHalfAStepIsNotClipped) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Tensor x(ElementType::kF32, 1, 1, 32);
  x.for_each([](int64_t, int64_t, int64_t d) { return 0.5 * static_cast<double>(d); });
  const double ends[] = {127.5, -127.5, 128.0, -128.0, std::nextafter(127.5F, 128.0F)};
  for (int64_t i = 0; i < 5; ++i) x.set(0, 0, 27 + i, ends[i]);
  std::vector<int8_t> q(32);
  EXPECT_EQ(GetParam().f32.fixed(x.view().data, 128, 1, 32, nullptr, 1.0F, q.data()), 3);
  EXPECT_EQ(q[1], 0);  // 0.5
  EXPECT_EQ(q[3], 2);  // 1.5
  EXPECT_EQ(q[5], 2);  // 2.5
  EXPECT_EQ(q[27], 127);
  EXPECT_EQ(q[28], -127);
  EXPECT_EQ(q[30], -127);
  expect_fixed(GetParam(), x.view(), nullptr, 1.0F);
}

TEST_P(QuantizeFixedTest, ExtremesAndOverflowClamp) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  constexpr float kMax = std::numeric_limits<float>::max();
  const double magnitudes[] = {0.0, 0x1p-149, 0x1p-126, 0x1.fffffep-101, 0x1p-100, 1.0, kMax};
  const std::vector<float> mean(32, kMax);
  for (const double magnitude : magnitudes) {
    Tensor x(ElementType::kF32, 1, 3, 32, Layout::kMisaligned);
    x.for_each([&](int64_t, int64_t row, int64_t d) {
      if (row == 1) return d == 31 ? -magnitude : 0.0;  // the last lane alone
      return (row + d) % 2 == 0 ? magnitude : -magnitude;
    });
    expect_row_scales(GetParam(), x.view(), nullptr);
    for (const float inverse : {0x1p-149F, 0x1p-126F, 1.0F, 0x1p100F, kMax}) {
      expect_fixed(GetParam(), x.view(), nullptr, inverse);
    }
    expect_row_scales(GetParam(), x.view(), mean.data());  // -max - max is not finite
  }
}

TEST_P(QuantizeFixedTest, WhatIsNotFiniteAnywhereIsReported) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  const std::vector<float> mean = random_mean(48, 2);
  for (const ElementType type : {ElementType::kF32, ElementType::kF16}) {
    for (const double bad : {test::kNan, -test::kNan, test::kInfinity, -test::kInfinity}) {
      for (int64_t d = 0; d < 48; ++d) {
        Tensor x(type, 1, 3, 48);
        x.fill_random(3);
        x.set(0, 1, d, bad);
        std::vector<float> scale(3);
        const TensorView& v = x.view();
        ASSERT_FALSE(
            GetParam().of(type).row_scales(v.data, v.row_stride, 3, 48, mean.data(), scale.data()));
        ASSERT_EQ(scale[1], 0.0F);
        expect_row_scales(GetParam(), v, mean.data());
        expect_row_scales(GetParam(), v, nullptr);
      }
    }
  }
  constexpr uint16_t kBadScales[] = {0x7C00, 0xFC00, 0x7E01, 0xFE01};  // infinities and NaNs
  for (const uint16_t bad : kBadScales) {
    Q8Tensor x = Q8Tensor::random(1, 3, 96, Layout::kGaps, 3);
    x.set_scale(0, 1, 64, bad);
    expect_row_scales(GetParam(), x.view(), nullptr);
  }
}

TEST_P(QuantizeFixedTest, PiecesOfRowsSumLikeTheWhole) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Tensor x(ElementType::kF32, 1, 100, 80);
  x.fill_random(9, Content::kOutliers, 1e3);
  const TensorView& v = x.view();
  std::vector<float> whole(80);
  std::vector<float> pieces(80);
  GetParam().f32.add_rows(v.data, v.row_stride, 100, 80, whole.data());
  GetParam().f32.add_rows(v.data, v.row_stride, 37, 80, pieces.data());
  GetParam().f32.add_rows(v.row(0, 37), v.row_stride, 63, 80, pieces.data());
  EXPECT_EQ(whole, pieces);
}

INSTANTIATE_TEST_SUITE_P(Kernels, QuantizeFixedTest, testing::ValuesIn(quantize_kernels()),
                         test::kernel_name<QuantizeKernel>);

}  // namespace
}  // namespace shadowattn
