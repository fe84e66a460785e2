#include "kernels/attend/attend.h"

#include <gtest/gtest.h>

#include "attend_problem.h"
#include "kernel_param.h"

namespace shadowattn {
namespace {

using test::AttendCase;
using test::Bias;
using test::Content;
using test::expect_reference;
using test::Layout;
using test::Output;
using Problem = test::AttendProblem;
using test::run_rows;
using test::run_tiles;
using test::Tensor;

class AttendCaseTest : public testing::TestWithParam<test::KernelParam<AttendKernel, AttendCase>> {
};

TEST_P(AttendCaseTest, TilesMatchReference) {
  const AttendKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const Problem p(GetParam().data);
  for (const int64_t step : {kAttendBlock, int64_t{13}, int64_t{1}}) {
    expect_reference(p, run_tiles(kernel, p, step), {.block = step});
  }
}

TEST_P(AttendCaseTest, RowsMatchReference) {
  const AttendKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const Problem p(GetParam().data);
  for (const int64_t step : {kAttendBlock, int64_t{13}, int64_t{1}}) {
    expect_reference(p, run_rows(kernel, p, step), {.block = step});
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, AttendCaseTest,
                         testing::ValuesIn(test::cross(attend_kernels(), test::attend_cases())),
                         test::param_label<AttendCaseTest::ParamType>);

class AttendTest : public testing::TestWithParam<AttendKernel> {};

TEST_P(AttendTest, GatherCopiesAndPads) {
  const AttendKernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const std::vector<int32_t> index = {9, 0, 3, 3, 10, 7, 1, 2, 6, 5, 4};
  for (const ElementType type : {ElementType::kF32, ElementType::kF16}) {
    for (const Layout layout : test::kLayouts) {
      for (const int64_t dim : {16, 80, 256}) {
        Tensor x(type, 2, 11, dim, layout);
        x.fill_random(1);
        const RowSource source{x.view().row(1, 0), type, x.view().row_stride};
        for (int64_t count = 1; count <= 11; ++count) {
          const int64_t padded = (count + 7) / 8 * 8;
          std::vector<float> out(static_cast<size_t>(padded * dim), test::kNan);
          EXPECT_TRUE(kernel.gather(source, index.data(), 0, count, dim, out.data()));
          for (int64_t i = 0; i < padded * dim; ++i) {
            const int64_t j = i / dim;
            const float expected =
                j < count ? test::element(x.view(), 1, index[static_cast<size_t>(j)], i % dim) : 0;
            ASSERT_EQ(out[static_cast<size_t>(i)], expected) << i;
          }
        }
      }
    }
  }
}

TEST_P(AttendTest, GatherReportsNanAndInfinity) {
  const AttendKernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const ElementType type : {ElementType::kF32, ElementType::kF16}) {
    for (const double bad : {test::kNan, test::kInfinity, -test::kInfinity}) {
      for (int64_t d = 0; d < 32; ++d) {
        Tensor x(type, 1, 5, 32);
        x.fill(type == ElementType::kF16 ? 65504.0 : std::numeric_limits<float>::max());
        const RowSource source{x.view().data, type, x.view().row_stride};
        std::vector<float> out(size_t{8} * 32);
        ASSERT_TRUE(kernel.gather(source, nullptr, 0, 5, 32, out.data()));
        x.set(0, d % 5, d, bad);
        ASSERT_FALSE(kernel.gather(source, nullptr, 0, 5, 32, out.data())) << d;
      }
    }
  }
}

AttendCase small_case(Bias bias) { return {"", 9, 70, 32, 48, bias}; }

TEST_P(AttendTest, HiddenKeysNeverMatter) {
  const AttendKernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const Problem clean(small_case(Bias::kSomeRowsHidden));
  Problem dirty(small_case(Bias::kSomeRowsHidden));
  for (Problem* p : {const_cast<Problem*>(&clean), &dirty}) {
    for (int64_t r = 0; r < 9; ++r) {
      for (const int64_t j : {0, 5, 63, 64, 69}) p->mask.set(0, r, j, -test::kInfinity);
    }
  }
  const double junk[] = {test::kNan, test::kInfinity, -test::kInfinity,
                         std::numeric_limits<float>::max(), -test::kNan};
  int64_t i = 0;
  for (const int64_t j : {0, 5, 63, 64, 69}) {
    dirty.key.fill_row(Problem::kHead, j, junk[i]);
    dirty.value.fill_row(Problem::kHead, j, junk[i]);
    ++i;
  }
  for (const int64_t step : {kAttendBlock, int64_t{5}}) {
    expect_reference(dirty, run_tiles(kernel, dirty, step), {.block = step});
    expect_reference(dirty, run_rows(kernel, dirty, step), {.block = step});
    // Rows take the same path whatever is hidden: the same bits.
    EXPECT_EQ(run_rows(kernel, dirty, step), run_rows(kernel, clean, step));
  }
}

TEST_P(AttendTest, NanInVisibleOperandsGivesNanInThoseRowsOnly) {
  const AttendKernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const int64_t key : {0, 3, 63, 69}) {  // first, middle, last of a block, last
    for (const double bad : {test::kNan, test::kInfinity, -test::kInfinity}) {
      Problem p(small_case(Bias::kHalfHidden));
      p.mask.set(0, 2, key, -test::kInfinity);
      p.mask.set(0, 3, key, 0.0);
      p.key.set(Problem::kHead, key, 7, bad);
      expect_reference(p, run_tiles(kernel, p, kAttendBlock));
      expect_reference(p, run_rows(kernel, p, kAttendBlock));
    }
    for (const float cap : {0.0F, 10.0F}) {
      Problem q(small_case(Bias::kNone));
      q.call.logit_softcap = cap;
      q.query.set(Problem::kHead, 4, 1, test::kNan);
      q.value.set(Problem::kHead, key, 5, test::kNan);
      expect_reference(q, run_tiles(kernel, q, kAttendBlock));
      expect_reference(q, run_rows(kernel, q, kAttendBlock));
    }
  }
}

TEST_P(AttendTest, InfiniteLogitUnderSoftcapIsTheCap) {
  // cap · tanh(±inf / cap) = ±cap: the key takes part like any other.
  const AttendKernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const double sign : {1.0, -1.0}) {
    for (const Bias bias : {Bias::kNone, Bias::kRandom}) {
      Problem p(small_case(bias));
      p.call.logit_softcap = 2.0F;
      for (int64_t d = 0; d < 32; ++d) {
        for (int64_t r = 0; r < 9; ++r) p.query.set(Problem::kHead, r, d, 1e20);
        p.key.set(Problem::kHead, 6, d, sign * 1e30);
      }
      expect_reference(p, run_tiles(kernel, p, kAttendBlock));
      expect_reference(p, run_rows(kernel, p, kAttendBlock));
    }
  }
}

TEST_P(AttendTest, ExtremeMagnitudes) {
  const AttendKernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const double max = std::numeric_limits<float>::max();
  struct Magnitudes {
    double query;
    double key;
    double value;
  };
  const Magnitudes cases[] = {
      {0.0, 0.0, 1.0},        // all logits zero: the mean of the values
      {1e-30, 1e-30, 1.0},    // logits underflow to zero
      {0x1p-149, 1.0, 1.0},   // denormal operands
      {1.0, 1.0, 0x1p-140},   // denormal results
      {1.0, 1.0, max / 128},  // sums of values near the largest float
      {1e18, 1e-17, 1.0},     // logits of some hundred
  };
  for (const Magnitudes& m : cases) {
    Problem p(small_case(Bias::kNone));
    p.query.fill_random(1, Content::kNormal, m.query);
    p.key.fill_random(2, Content::kNormal, m.key);
    test::Random random(3);
    p.value.for_each([&](int64_t, int64_t, int64_t) { return m.value * random.uniform(); });
    expect_reference(p, run_tiles(kernel, p, kAttendBlock));
    expect_reference(p, run_rows(kernel, p, kAttendBlock));
  }
}

TEST_P(AttendTest, LogitsNearTheLargestFloat) {
  const AttendKernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  Problem p(small_case(Bias::kNone));
  p.query.fill(1e19);
  p.key.for_each([&](int64_t, int64_t j, int64_t) { return j == 40 ? 1e18 : -1e18; });
  for (const int64_t step : {kAttendBlock, int64_t{7}}) {
    const Output tiles = run_tiles(kernel, p, step);
    const Output rows = run_rows(kernel, p, step);
    for (int64_t i = 0; i < 9 * 48; ++i) {  // the maximum takes everything
      const float expected = test::element(p.call.value, Problem::kHead, 40, i % 48);
      ASSERT_EQ(tiles[static_cast<size_t>(i)], expected);
      ASSERT_EQ(rows[static_cast<size_t>(i)], expected);
    }
  }
}

TEST_P(AttendTest, RisingLogitsRescaleEveryBlock) {
  const AttendKernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const double slope : {0.5, 5.0, -5.0, 200.0}) {
    Problem p({"", 4, 200, 16, 32});
    p.query.fill(1.0);
    p.key.for_each([&](int64_t, int64_t j, int64_t) { return slope * double(j) / 4; });
    expect_reference(p, run_tiles(kernel, p, 16), {.block = 16});
    expect_reference(p, run_rows(kernel, p, 16), {.block = 16});
  }
}

TEST_P(AttendTest, AddOutputAddsWeightedValuesOfAnyNumberOfKeys) {
  const AttendKernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  test::Random random(11);
  for (const int64_t rows : {kernel.row_multiple, 3 * kernel.row_multiple, int64_t{48}}) {
    for (const int64_t value_dim : {16, 32, 48, 112, 256}) {
      for (const int64_t keys : {1, 2, 15, 32, 64, 65, 131}) {
        SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(keys) + " keys of " +
                     std::to_string(value_dim));
        std::vector<float> weight;  // as shares are: not negative, many of them zero
        std::vector<float> value;
        std::vector<float> out;
        for (int64_t i = 0; i < keys * rows; ++i) {
          weight.push_back(random.chance(0.3) ? 0.0F : static_cast<float>(random.uniform()));
        }
        for (int64_t i = 0; i < keys * value_dim; ++i) {
          value.push_back(static_cast<float>(random.normal()));
        }
        for (int64_t i = 0; i < rows * value_dim; ++i) {
          out.push_back(static_cast<float>(random.normal()));
        }
        const std::vector<float> before = out;
        AttendBlock block;
        block.logits = weight.data();
        block.value = value.data();
        block.rows = rows;
        block.keys = keys;
        block.value_dim = value_dim;
        block.out = out.data();
        kernel.add_output(block);
        for (int64_t i = 0; i < rows * value_dim; ++i) {
          double sum = before[static_cast<size_t>(i)];
          double magnitude = std::fabs(sum);
          for (int64_t j = 0; j < keys; ++j) {
            const double term = double{weight[static_cast<size_t>(j * rows + i / value_dim)]} *
                                value[static_cast<size_t>(j * value_dim + i % value_dim)];
            sum += term;
            magnitude += std::fabs(term);
          }
          // A product and a sum per key.
          const double tolerance = test::gamma(2.0 * static_cast<double>(keys)) * magnitude;
          ASSERT_NEAR(out[static_cast<size_t>(i)], sum, tolerance)
              << "row " << i / value_dim << " dim " << i % value_dim;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, AttendTest, testing::ValuesIn(attend_kernels()),
                         test::kernel_name<AttendKernel>);

}  // namespace
}  // namespace shadowattn
