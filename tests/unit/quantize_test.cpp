#include "kernels/quantize/quantize.h"

#include <gtest/gtest.h>

#include <bit>

#include "kernel_param.h"
#include "random_tensor.h"
#include "reference.h"

namespace shadowattn {
namespace {

using test::Content;
using test::Layout;
using test::Tensor;

struct QuantizeCase {
  std::string label;
  ElementType type;
  Layout layout;
};

std::vector<QuantizeCase> quantize_cases() {
  std::vector<QuantizeCase> cases;
  for (const ElementType type : {ElementType::kF32, ElementType::kF16}) {
    for (const Layout layout : test::kLayouts) {
      cases.push_back(
          {std::string(type == ElementType::kF16 ? "f16_" : "f32_") + test::name(layout), type,
           layout});
    }
  }
  return cases;
}

struct Quantized {
  std::vector<int8_t> q;
  std::vector<float> scale;
  bool finite = false;
};

/// All rows of one head, with guard bytes behind the outputs.
Quantized run(const QuantizeKernel& kernel, const TensorView& x, int64_t head) {
  constexpr size_t kGuard = 64;
  Quantized result;
  result.q.assign(static_cast<size_t>(x.rows * x.dim) + kGuard, 99);
  result.scale.assign(static_cast<size_t>(x.rows) + kGuard, -1.0F);
  result.finite = kernel.of(x.type).rows(x.row(head, 0), x.row_stride, x.rows, x.dim,
                                         result.q.data(), result.scale.data());
  for (size_t i = 0; i < kGuard; ++i) {
    EXPECT_EQ(result.q[result.q.size() - 1 - i], 99) << "written beyond the end";
    EXPECT_EQ(result.scale[result.scale.size() - 1 - i], -1.0F) << "written beyond the end";
  }
  return result;
}

void expect_reference(const QuantizeKernel& kernel, const TensorView& x) {
  for (int64_t h = 0; h < x.heads; ++h) {
    const Quantized got = run(kernel, x, h);
    bool finite = true;
    for (int64_t r = 0; r < x.rows; ++r) {
      const test::QuantizedRow expected = test::reference_quantize(x, h, r);
      finite = finite && expected.finite;
      ASSERT_EQ(std::bit_cast<uint32_t>(got.scale[static_cast<size_t>(r)]),
                std::bit_cast<uint32_t>(expected.scale))
          << "row " << r;
      for (int64_t d = 0; d < x.dim; ++d) {
        ASSERT_EQ(got.q[static_cast<size_t>(r * x.dim + d)], expected.q[static_cast<size_t>(d)])
            << "row " << r << " dim " << d << " of " << x.dim;
      }
    }
    EXPECT_EQ(got.finite, finite);
  }
}

class QuantizeCaseTest
    : public testing::TestWithParam<test::KernelParam<QuantizeKernel, QuantizeCase>> {};

TEST_P(QuantizeCaseTest, MatchesReference) {
  const QuantizeKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const QuantizeCase& c = GetParam().data;
  for (const int64_t dim : {16, 48, 64, 80, 128, 240, 256}) {
    for (const Content content : {Content::kNormal, Content::kPeaky, Content::kOutliers}) {
      Tensor x(c.type, 2, 7, dim, c.layout);
      x.fill_random(static_cast<uint64_t>(dim), content);
      expect_reference(kernel, x.view());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, QuantizeCaseTest,
                         testing::ValuesIn(test::cross(quantize_kernels(), quantize_cases())),
                         test::param_label<QuantizeCaseTest::ParamType>);

class QuantizeTest : public testing::TestWithParam<QuantizeKernel> {};

TEST_P(QuantizeTest, NoRows) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  EXPECT_TRUE(GetParam().f32.rows(nullptr, 64, 0, 16, nullptr, nullptr));
  EXPECT_TRUE(GetParam().f16.rows(nullptr, 32, 0, 16, nullptr, nullptr));
}

TEST_P(QuantizeTest, TiesGoToEven) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Tensor x(ElementType::kF32, 1, 1, 256);
  x.for_each([](int64_t, int64_t, int64_t d) { return d == 255 ? 127.0 : 0.5 * double(d - 128); });
  const Quantized got = run(GetParam(), x.view(), 0);
  EXPECT_EQ(got.scale[0], 1.0F);
  EXPECT_EQ(got.q[129], 0);   // 0.5
  EXPECT_EQ(got.q[131], 2);   // 1.5
  EXPECT_EQ(got.q[127], 0);   // -0.5
  EXPECT_EQ(got.q[125], -2);  // -1.5
  expect_reference(GetParam(), x.view());
}

TEST_P(QuantizeTest, ErrorIsAtMostHalfAStep) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Tensor x(ElementType::kF32, 1, 200, 64);
  x.fill_random(5, Content::kPeaky, 1e3);
  const Quantized got = run(GetParam(), x.view(), 0);
  for (int64_t r = 0; r < 200; ++r) {
    const double scale = got.scale[static_cast<size_t>(r)];
    for (int64_t d = 0; d < 64; ++d) {
      const int8_t q = got.q[static_cast<size_t>(r * 64 + d)];
      ASSERT_GE(q, -127);
      // Half a step, plus four roundings (scale, inverse, product, this test's own) of up to 127
      // steps.
      ASSERT_LE(std::fabs(test::element(x.view(), 0, r, d) - scale * q),
                scale * (0.5 + 4 * 127 * test::kUnit));
    }
  }
}

TEST_P(QuantizeTest, ExtremeMagnitudes) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  constexpr double kMax = std::numeric_limits<float>::max();
  const double magnitudes[] = {0.0,      0x1p-149, 0x1p-126, 0x1p-101, 0x1.fffffep-101,
                               0x1p-100, 0x1p-99,  1e-20,    1.0,      65504.0,
                               1e30,     0x1p127,  kMax};
  for (const double magnitude : magnitudes) {
    Tensor x(ElementType::kF32, 1, 3, 32, Layout::kMisaligned);
    test::Random random(11);
    x.for_each([&](int64_t, int64_t row, int64_t d) {
      if (row == 0) return d % 2 == 0 ? magnitude : -magnitude;  // ±127 everywhere
      if (row == 1) return d == 31 ? -magnitude : 0.0;           // the last lane alone
      return magnitude * (2.0 * random.uniform() - 1.0);
    });
    expect_reference(GetParam(), x.view());
    const Quantized got = run(GetParam(), x.view(), 0);
    EXPECT_TRUE(got.finite);
    if (magnitude < 0x1p-100) {
      EXPECT_EQ(got.scale[0], 0.0F);
      EXPECT_EQ(got.q[0], 0);
    } else {
      EXPECT_EQ(got.q[0], 127);
      EXPECT_EQ(got.q[1], -127);
      EXPECT_EQ(got.q[32 + 31], -127);
    }
  }
}

TEST_P(QuantizeTest, ExtremesOfF16) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const double magnitude : {0x1p-24, 0x1p-14 - 0x1p-24, 0x1p-14, 65504.0}) {
    Tensor x(ElementType::kF16, 1, 2, 48, Layout::kMisaligned);
    x.for_each([&](int64_t, int64_t row, int64_t d) {
      return magnitude * (row == 0 ? 1.0 : static_cast<double>(d - 24) / 24.0);
    });
    expect_reference(GetParam(), x.view());
  }
}

TEST_P(QuantizeTest, NanOrInfinityAnywhereIsReported) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const ElementType type : {ElementType::kF32, ElementType::kF16}) {
    for (const double bad : {test::kNan, -test::kNan, test::kInfinity, -test::kInfinity}) {
      for (int64_t d = 0; d < 48; ++d) {
        Tensor x(type, 1, 3, 48);
        x.fill_random(3);
        x.set(0, 1, d, bad);
        const Quantized got = run(GetParam(), x.view(), 0);
        ASSERT_FALSE(got.finite) << d;
        ASSERT_EQ(got.scale[1], 0.0F);
        ASSERT_NE(got.scale[0], 0.0F);
        ASSERT_NE(got.scale[2], 0.0F);
        expect_reference(GetParam(), x.view());
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, QuantizeTest, testing::ValuesIn(quantize_kernels()),
                         test::kernel_name<QuantizeKernel>);

}  // namespace
}  // namespace shadowattn
