// q8_0 keys and values through the kernels. Dequantising is exact in f32, so the result on q8_0
// must have the bits of the result on the same numbers in f32; attention is also held against
// double.
#include <gtest/gtest.h>

#include <algorithm>

#include <bit>

#include "attend_problem.h"
#include "kernel_param.h"
#include "kernels/attend16/attend16.h"
#include "kernels/quantize/quantize.h"
#include "q8_0_tensor.h"
#include "reference.h"

namespace shadowattn {
namespace {

using test::Content;
using test::dequantized;
using test::element;
using test::Layout;
using test::Q8Tensor;
using test::Tensor;

constexpr int64_t kDims[] = {32, 64, 96, 128, 160, 224, 256};

struct LayoutCase {
  std::string label;
  Layout layout;
};

std::vector<LayoutCase> layouts() {
  std::vector<LayoutCase> cases;
  for (const Layout layout : test::kLayouts) cases.push_back({test::name(layout), layout});
  return cases;
}

// Bits of binary16.
constexpr uint16_t kZero = 0x0000;
constexpr uint16_t kMinusZero = 0x8000;
constexpr uint16_t kSmallest = 0x0001;
constexpr uint16_t kLargestSubnormal = 0x03FF;
constexpr uint16_t kLargest = 0x7BFF;
constexpr uint16_t kMinusThree = 0xC200;
constexpr uint16_t kInf = 0x7C00;
constexpr uint16_t kMinusInf = 0xFC00;
constexpr uint16_t kNanBits = 0x7E01;
constexpr uint16_t kMinusNan = 0xFE01;

constexpr uint16_t kFiniteScales[] = {kZero,    kMinusZero,  kSmallest, kLargestSubnormal,
                                      kLargest, kMinusThree, 0xFBFF,    0x3C00};
constexpr uint16_t kBadScales[] = {kInf, kMinusInf, kNanBits, kMinusNan};

/// All pairs of scales in the two blocks of a row of 64, with every byte from -128 to 127.
Q8Tensor extreme_tensor() {
  Q8Tensor x(1, 64, 64, Layout::kMisaligned);
  for (int64_t r = 0; r < 64; ++r) {
    x.set_scale(0, r, 0, kFiniteScales[r % 8]);
    x.set_scale(0, r, 32, kFiniteScales[r / 8]);
    for (int64_t d = 0; d < 64; ++d) {
      x.set_quant(0, r, d, static_cast<int8_t>((r * 64 + d * 37) % 256 - 128));
    }
  }
  x.set_quant(0, 5, 7, -128);
  return x;
}

// --- quantize -----------------------------------------------------------------------------------

struct Quantized {
  std::vector<int8_t> q;
  std::vector<float> scale;
  bool finite = false;
};

Quantized quantize(const QuantizeKernel& kernel, const TensorView& x, int64_t head) {
  Quantized result;
  result.q.assign(static_cast<size_t>(x.rows * x.dim), 99);
  result.scale.assign(static_cast<size_t>(x.rows), -1.0F);
  result.finite = kernel.of(x.type).rows(x.row(head, 0), x.row_stride, x.rows, x.dim,
                                         result.q.data(), result.scale.data());
  return result;
}

void expect_quantized(const QuantizeKernel& kernel, const TensorView& x) {
  for (int64_t h = 0; h < x.heads; ++h) {
    const Quantized got = quantize(kernel, x, h);
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

class Q8QuantizeTest
    : public testing::TestWithParam<test::KernelParam<QuantizeKernel, LayoutCase>> {};

TEST_P(Q8QuantizeTest, MatchesReference) {
  const QuantizeKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const int64_t dim : kDims) {
    for (const Content content : {Content::kNormal, Content::kPeaky, Content::kOutliers}) {
      expect_quantized(kernel, Q8Tensor::random(2, 7, dim, GetParam().data.layout,
                                                static_cast<uint64_t>(dim), content)
                                   .view());
    }
  }
}

TEST_P(Q8QuantizeTest, Extremes) {
  const QuantizeKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const Q8Tensor x = extreme_tensor();
  expect_quantized(kernel, x.view());
  EXPECT_TRUE(quantize(kernel, x.view(), 0).finite);
}

TEST_P(Q8QuantizeTest, ScalesThatAreNotFiniteAreReported) {
  const QuantizeKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const uint16_t bad : kBadScales) {
    for (const bool zeros : {false, true}) {  // infinity · 0 is NaN
      for (int64_t d = 0; d < 96; d += 32) {
        Q8Tensor x = Q8Tensor::random(1, 3, 96, GetParam().data.layout, 3);
        x.set_scale(0, 1, d, bad);
        for (int64_t i = d; zeros && i < d + 32; ++i) x.set_quant(0, 1, i, 0);
        const Quantized got = quantize(kernel, x.view(), 0);
        EXPECT_FALSE(got.finite);
        EXPECT_EQ(got.scale[1], 0.0F);
        EXPECT_NE(got.scale[0], 0.0F);
        EXPECT_NE(got.scale[2], 0.0F);
        expect_quantized(kernel, x.view());
      }
    }
  }
}

TEST_P(Q8QuantizeTest, NoRows) {
  const QuantizeKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  EXPECT_TRUE(kernel.q8_0.rows(nullptr, 34, 0, 32, nullptr, nullptr));
}

INSTANTIATE_TEST_SUITE_P(Kernels, Q8QuantizeTest,
                         testing::ValuesIn(test::cross(quantize_kernels(), layouts())),
                         test::param_label<Q8QuantizeTest::ParamType>);

// --- attend -------------------------------------------------------------------------------------

RowSource source(const TensorView& view, int64_t head) {
  return {view.row(head, 0), view.type, view.row_stride};
}

void expect_same_number(float got, float expected, const std::string& where) {
  if (std::isnan(expected)) {
    ASSERT_TRUE(std::isnan(got)) << where;
  } else {
    ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(expected)) << where;
  }
}

/// Rows index[0 … count-1], or the first `count`.
void expect_gathered(const AttendKernel& kernel, const TensorView& x, int64_t head,
                     const std::vector<int32_t>& index, int64_t count) {
  const int64_t padded = (count + kAttendKeyPadding - 1) / kAttendKeyPadding * kAttendKeyPadding;
  std::vector<float> got(static_cast<size_t>(padded * x.dim), -1.0F);
  const bool finite = kernel.gather(source(x, head), index.empty() ? nullptr : index.data(), 0,
                                    count, x.dim, got.data());
  bool expect_finite = true;
  for (int64_t j = 0; j < padded; ++j) {
    for (int64_t d = 0; d < x.dim; ++d) {
      float expected = 0.0F;
      if (j < count) {
        expected = element(x, head, index.empty() ? j : index[static_cast<size_t>(j)], d);
      }
      expect_finite = expect_finite && std::isfinite(expected);
      expect_same_number(got[static_cast<size_t>(j * x.dim + d)], expected,
                         "row " + std::to_string(j) + " dim " + std::to_string(d));
    }
  }
  EXPECT_EQ(finite, expect_finite);
}

class Q8AttendTest : public testing::TestWithParam<test::KernelParam<AttendKernel, LayoutCase>> {};

TEST_P(Q8AttendTest, GathersExactly) {
  const AttendKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const int64_t dim : kDims) {
    const Q8Tensor x = Q8Tensor::random(2, 70, dim, GetParam().data.layout, 9, Content::kOutliers);
    for (const int64_t count : {1, 3, 8, 64}) expect_gathered(kernel, x.view(), 1, {}, count);
    expect_gathered(kernel, x.view(), 1, {0, 3, 4, 17, 40, 41, 68, 69, 69, 2, 5}, 11);
  }
}

TEST_P(Q8AttendTest, GathersExtremes) {
  const AttendKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  Q8Tensor x = extreme_tensor();
  expect_gathered(kernel, x.view(), 0, {}, 64);
  for (const uint16_t bad : kBadScales) {
    for (const int64_t d : {0, 32}) {
      Q8Tensor poisoned = extreme_tensor();
      poisoned.set_scale(0, 11, d, bad);
      expect_gathered(kernel, poisoned.view(), 0, {}, 64);
      expect_gathered(kernel, poisoned.view(), 0, {1, 10, 12}, 3);
    }
  }
}

/// The problem's keys and values (or one of them) as q8_0; `numbers` holds the same in f32.
struct Q8Problem {
  Q8Problem(const test::AttendCase& c, bool key_q8, bool value_q8)
      : problem(c),
        numbers(c),
        key(problem.key.view(), c.layout),
        value(problem.value.view(), c.layout),
        key_numbers(dequantized(key.view())),
        value_numbers(dequantized(value.view())) {
    if (key_q8) problem.call.key = key.view();
    if (key_q8) numbers.call.key = key_numbers.view();
    if (value_q8) problem.call.value = value.view();
    if (value_q8) numbers.call.value = value_numbers.view();
  }

  test::AttendProblem problem;
  test::AttendProblem numbers;
  Q8Tensor key;
  Q8Tensor value;
  Tensor key_numbers;
  Tensor value_numbers;
};

struct TypeMix {
  ElementType other;
  bool key_q8;
  bool value_q8;
};

constexpr TypeMix kMixes[] = {{ElementType::kF16, true, true},
                              {ElementType::kF16, true, false},
                              {ElementType::kF16, false, true},
                              {ElementType::kF32, true, false},
                              {ElementType::kF32, false, true}};

void expect_same(const test::Output& got, const test::Output& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    expect_same_number(got[i], expected[i], "element " + std::to_string(i));
  }
}

TEST_P(Q8AttendTest, TilesAndRowsMatchReference) {
  const AttendKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const TypeMix& mix : kMixes) {
    for (const auto& [dim, value_dim] :
         {std::pair<int64_t, int64_t>{64, 64}, {32, 96}, {160, 32}, {96, 224}}) {
      const Q8Problem p({"", 9, 67, dim, value_dim, test::Bias::kHalfHidden, 0.0F, Content::kPeaky,
                         mix.other, GetParam().data.layout},
                        mix.key_q8, mix.value_q8);
      const test::Output tiles = run_tiles(kernel, p.problem, 64);
      const test::Output rows = run_rows(kernel, p.problem, 23);
      expect_reference(p.problem, tiles);
      expect_reference(p.problem, rows);
      expect_same(tiles, run_tiles(kernel, p.numbers, 64));
      expect_same(rows, run_rows(kernel, p.numbers, 23));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Q8AttendTest,
                         testing::ValuesIn(test::cross(attend_kernels(), layouts())),
                         test::param_label<Q8AttendTest::ParamType>);

// --- attend16 -----------------------------------------------------------------------------------

struct Packed {
  std::vector<int32_t> words;
  std::vector<float> step;
  bool usable = false;

  bool operator==(const Packed& other) const = default;
};

Packed pack_keys(const Attend16Kernel& kernel, const TensorView& x,
                 const std::vector<int32_t>& index, int64_t count) {
  Packed packed;
  packed.words.assign(static_cast<size_t>(x.dim / 2 * kAttendBlock), -1);
  packed.step.assign(static_cast<size_t>(kAttendBlock), -1.0F);
  packed.usable = kernel.pack_keys(source(x, x.heads - 1), index.empty() ? nullptr : index.data(),
                                   0, count, x.dim, packed.words.data(), packed.step.data());
  return packed;
}

Packed pack_values(const Attend16Kernel& kernel, const TensorView& x,
                   const std::vector<int32_t>& index, int64_t count) {
  Packed packed;
  packed.words.assign(static_cast<size_t>(kAttendBlock / 2 * x.dim), -1);
  kernel.pack_values(source(x, x.heads - 1), index.empty() ? nullptr : index.data(), 0, count,
                     x.dim, packed.words.data());
  packed.usable = std::none_of(packed.words.begin(), packed.words.end(), [](int32_t word) {
    const auto bits = static_cast<uint32_t>(word);  // two BF16 numbers; is one not finite?
    return (bits & 0x7F80U) == 0x7F80U || (bits >> 16 & 0x7F80U) == 0x7F80U;
  });
  return packed;
}

class Q8Attend16Test
    : public testing::TestWithParam<test::KernelParam<Attend16Kernel, LayoutCase>> {};

TEST_P(Q8Attend16Test, PacksTheBitsOfF32) {
  const Attend16Kernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const std::vector<int32_t> some = {0,  3,  4,  17, 40, 41, 68, 69, 70,
                                     71, 72, 73, 74, 75, 76, 77, 79};
  for (const int64_t dim : kDims) {
    const Q8Tensor x = Q8Tensor::random(2, 80, dim, GetParam().data.layout, 9, Content::kOutliers);
    const Tensor numbers = dequantized(x.view());
    for (const int64_t count : {1, 15, 16, 33, 64}) {
      EXPECT_EQ(pack_keys(kernel, x.view(), {}, count),
                pack_keys(kernel, numbers.view(), {}, count));
      EXPECT_EQ(pack_values(kernel, x.view(), {}, count),
                pack_values(kernel, numbers.view(), {}, count));
    }
    const Packed keys = pack_keys(kernel, x.view(), some, 17);
    EXPECT_TRUE(keys.usable);
    EXPECT_EQ(keys, pack_keys(kernel, numbers.view(), some, 17));
    EXPECT_EQ(pack_values(kernel, x.view(), some, 17),
              pack_values(kernel, numbers.view(), some, 17));
  }
}

TEST_P(Q8Attend16Test, Extremes) {
  const Attend16Kernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const Q8Tensor x = extreme_tensor();
  const Tensor numbers = dequantized(x.view());
  EXPECT_TRUE(pack_keys(kernel, x.view(), {}, 64).usable);
  EXPECT_EQ(pack_keys(kernel, x.view(), {}, 64), pack_keys(kernel, numbers.view(), {}, 64));
  EXPECT_TRUE(pack_values(kernel, x.view(), {}, 64).usable);
  EXPECT_EQ(pack_values(kernel, x.view(), {}, 64), pack_values(kernel, numbers.view(), {}, 64));
  for (const uint16_t bad : kBadScales) {
    for (const bool zeros : {false, true}) {
      for (const int64_t d : {0, 32}) {
        Q8Tensor poisoned = extreme_tensor();
        poisoned.set_scale(0, 63, d, bad);
        for (int64_t i = d; zeros && i < d + 32; ++i) poisoned.set_quant(0, 63, i, 0);
        EXPECT_FALSE(pack_keys(kernel, poisoned.view(), {}, 64).usable);
        EXPECT_FALSE(pack_values(kernel, poisoned.view(), {}, 64).usable);
        EXPECT_TRUE(pack_keys(kernel, poisoned.view(), {}, 63).usable);
        EXPECT_TRUE(pack_values(kernel, poisoned.view(), {}, 63).usable);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Q8Attend16Test,
                         testing::ValuesIn(test::cross(attend16_kernels(), layouts())),
                         test::param_label<Q8Attend16Test::ParamType>);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Q8Attend16Test);

}  // namespace
}  // namespace shadowattn
