#include "kernels/project/project.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernel_param.h"
#include "kernels/quantize/quantize.h"
#include "q8_0_tensor.h"
#include "reference.h"

namespace shadowattn {
namespace {

using test::gamma;
using test::Layout;
using test::Random;
using test::Tensor;

constexpr float kUntouched = -7.0F;

struct Rows {
  int64_t first = 0;
  int64_t step = 1;
  int64_t rows = 0;
  int64_t columns = 0;
  bool start = false;
};

/// Head 1 of x against the sum in double. d + 1 products and sums are rounded, whatever is fused.
void expect_reference_rows(const ProjectKernel& kernel, const TensorView& x, const Rows& r) {
  Random random(static_cast<uint64_t>(r.columns + x.dim));
  std::vector<float> map(static_cast<size_t>(x.dim * r.columns) + 1, kUntouched);
  for (size_t i = 1; i < map.size(); ++i) map[i] = static_cast<float>(random.normal());
  std::vector<float> start(static_cast<size_t>(r.columns), 0.0F);
  for (float& s : start) s = r.start ? static_cast<float>(10.0 * random.normal()) : 0.0F;
  std::vector<float> out(static_cast<size_t>(r.rows * r.columns) + 2, kUntouched);
  ProjectRows work;
  work.source = {x.row(1, 0), x.type, x.row_stride};
  work.first = r.first;
  work.step = r.step;
  work.rows = r.rows;
  work.dim = x.dim;
  work.map = map.data() + 1;  // misaligned, as the output
  work.columns = r.columns;
  work.start = r.start ? start.data() : nullptr;
  work.out = out.data() + 1;
  kernel.rows(work);
  EXPECT_EQ(out.front(), kUntouched);
  EXPECT_EQ(out.back(), kUntouched);
  for (int64_t i = 0; i < r.rows; ++i) {
    for (int64_t c = 0; c < r.columns; ++c) {
      double sum = start[static_cast<size_t>(c)];
      double magnitude = std::fabs(sum);
      for (int64_t d = 0; d < x.dim; ++d) {
        const double product = double{test::element(x, 1, r.first + i * r.step, d)} *
                               map[static_cast<size_t>(d * r.columns + c) + 1];
        sum += product;
        magnitude += std::fabs(product);
      }
      ASSERT_NEAR(out[static_cast<size_t>(i * r.columns + c) + 1], sum,
                  gamma(static_cast<double>(x.dim) + 1.0) * magnitude)
          << "row " << i << " column " << c;
    }
  }
}

class ProjectTest : public testing::TestWithParam<ProjectKernel> {};

TEST_P(ProjectTest, RowsMatchReference) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const ElementType type : {ElementType::kF32, ElementType::kF16}) {
    for (const Layout layout : test::kLayouts) {
      for (const int64_t dim : {16, 48, 64, 80, 256}) {
        Tensor x(type, 2, 40, dim, layout);
        x.fill_random(1);
        x.fill_row(1, 0, test::kNan);  // what is not asked for is not read
        for (const int64_t columns : {int64_t{16}, int64_t{48}, dim}) {
          expect_reference_rows(GetParam(), x.view(), {1, 1, 33, columns, true});
          expect_reference_rows(GetParam(), x.view(), {2, 7, 5, columns, false});
        }
      }
    }
  }
}

TEST_P(ProjectTest, AnyNumberOfRows) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Tensor x(ElementType::kF16, 2, 20, 64);
  x.fill_random(2);
  for (int64_t rows = 0; rows <= 20; ++rows) {
    expect_reference_rows(GetParam(), x.view(), {0, 1, rows, 32, rows % 2 == 0});
  }
}

TEST_P(ProjectTest, RowsOfQ8MatchReference) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const Layout layout : test::kLayouts) {
    for (const int64_t dim : {32, 96, 256}) {
      const test::Q8Tensor x = test::Q8Tensor::random(2, 20, dim, layout, 3);
      expect_reference_rows(GetParam(), x.view(), {1, 2, 9, 48, true});
    }
  }
}

// --- quantize -----------------------------------------------------------------------------------

struct Quantised {
  std::vector<int8_t> q;
  std::vector<float> scale;
  bool finite = false;
};

Quantised quantize(const ProjectKernel& kernel, const std::vector<float>& x, int64_t stride,
                   int64_t rows, int64_t dim) {
  Quantised result;
  result.q.assign(static_cast<size_t>(rows * dim) + 1, 99);
  result.scale.assign(static_cast<size_t>(rows) + 1, kUntouched);
  result.finite =
      kernel.quantize(x.data(), stride, rows, dim, result.q.data(), result.scale.data());
  EXPECT_EQ(result.q.back(), 99);
  EXPECT_EQ(result.scale.back(), kUntouched);
  return result;
}

TEST_P(ProjectTest, QuantizeIsExactlyItsFormula) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const int64_t dim : {16, 48, 64, 256}) {
    const int64_t stride = dim + 16;
    std::vector<float> x(static_cast<size_t>(9 * stride), test::kNan);
    Random random(4);
    for (int64_t r = 0; r < 9; ++r) {
      const double size = std::exp2(20.0 * static_cast<double>(r) - 80.0);
      for (int64_t d = 0; d < dim; ++d) {
        x[static_cast<size_t>(r * stride + d)] = static_cast<float>(size * random.normal());
      }
    }
    const Quantised got = quantize(GetParam(), x, stride, 9, dim);
    EXPECT_TRUE(got.finite);
    for (int64_t r = 0; r < 9; ++r) {
      const float* row = x.data() + r * stride;
      float absmax = 0.0F;
      for (int64_t d = 0; d < dim; ++d) absmax = std::max(absmax, std::fabs(row[d]));
      EXPECT_EQ(got.scale[static_cast<size_t>(r)], absmax / 63.0F);
      for (int64_t d = 0; d < dim; ++d) {
        const float expected = std::nearbyint(row[d] * (63.0F / absmax));
        ASSERT_EQ(got.q[static_cast<size_t>(r * dim + d)], static_cast<int8_t>(expected));
        ASSERT_LE(std::abs(got.q[static_cast<size_t>(r * dim + d)]), kLargestSeven);
      }
    }
  }
}

TEST_P(ProjectTest, QuantizeReportsRowsThatAreNotFinite) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const float bad : {static_cast<float>(test::kNan), HUGE_VALF, -HUGE_VALF}) {
    std::vector<float> x(3 * 32, 1.0F);
    x[32 + 17] = bad;
    const Quantised got = quantize(GetParam(), x, 32, 3, 32);
    EXPECT_FALSE(got.finite);
    EXPECT_EQ(got.scale[1], 0.0F);
    for (size_t d = 0; d < 32; ++d) {
      EXPECT_EQ(got.q[d], kLargestSeven);
      EXPECT_EQ(got.q[32 + d], 0);
      EXPECT_EQ(got.q[64 + d], kLargestSeven);
    }
  }
}

TEST_P(ProjectTest, QuantizeTakesTheSmallestAsZeroAndTheLargestAsItIs) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  std::vector<float> x(2 * 16, 0.5F * kSmallestQuantizable);
  x[16] = 3.4e38F;
  const Quantised got = quantize(GetParam(), x, 16, 2, 16);
  EXPECT_TRUE(got.finite);
  EXPECT_EQ(got.scale[0], 0.0F);
  EXPECT_EQ(got.q[0], 0);
  EXPECT_EQ(got.q[16], kLargestSeven);
  EXPECT_EQ(got.q[17], 0);
}

INSTANTIATE_TEST_SUITE_P(Kernels, ProjectTest, testing::ValuesIn(project_kernels()),
                         test::kernel_name<ProjectKernel>);

}  // namespace
}  // namespace shadowattn
