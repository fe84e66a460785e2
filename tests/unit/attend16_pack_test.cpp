// What the attend16 kernels pack, to the bit, and what they refuse.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "attend16_problem.h"
#include "kernel_param.h"
#include "kernels/attend16/attend16.h"

namespace shadowattn {
namespace {

using test::Content;
using test::Layout;
using test::Tensor;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNanF = std::numeric_limits<float>::quiet_NaN();

class Attend16PackTest : public testing::TestWithParam<Attend16Kernel> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Attend16PackTest);

TEST(Attend16LimitTest, IsTheLargestThatCannotOverflow) {
  for (int64_t dim = 1; dim <= 256; ++dim) {
    const int64_t limit = int16_limit(dim);
    EXPECT_LE(limit, 32767);
    EXPECT_LE(dim * limit * limit, std::numeric_limits<int32_t>::max()) << dim;
    EXPECT_TRUE(limit == 32767 ||
                dim * (limit + 1) * (limit + 1) > std::numeric_limits<int32_t>::max())
        << dim;
  }
}

struct Packed16 {
  std::vector<int16_t> q;
  float step = 0.0F;
};

/// By the contract, in its order of roundings.
Packed16 reference_pack(const std::vector<float>& x) {
  Packed16 packed;
  const auto limit =
      static_cast<float>(std::floor(std::sqrt(2147483647.0 / static_cast<double>(x.size()))));
  float absmax = 0.0F;
  for (const float value : x) absmax = std::max(absmax, std::fabs(value));
  const bool zero = absmax < 0x1p-100F;
  const float inverse = zero ? 0.0F : limit / absmax;
  for (const float value : x) {
    packed.q.push_back(static_cast<int16_t>(std::nearbyint(value * inverse)));
  }
  packed.step = zero ? 0.0F : absmax / limit;
  return packed;
}

std::vector<float> row_of(const Tensor& x, int64_t row) {
  std::vector<float> values;
  for (int64_t d = 0; d < x.view().dim; ++d) values.push_back(test::element(x.view(), 1, row, d));
  return values;
}

/// Ordinary rows, a row of zeros, tiny, subnormal and huge ones.
void fill_nasty(Tensor& x) {
  x.fill_random(1, Content::kOutliers);
  const bool half = x.view().type == ElementType::kF16;
  const double scales[] = {0.0, 0x1p-149, 0x1p-101, 0x1p-100, 0x1p-24, half ? 60000.0 : 1e30};
  test::Random random(2);
  for (int64_t row = 0; row < std::ssize(scales); ++row) {
    for (int64_t d = 0; d < x.view().dim; ++d) {
      x.set(1, row, d, scales[row] * (d == 3 ? 1.0 : 2.0 * random.uniform() - 1.0));
    }
  }
}

TEST_P(Attend16PackTest, PackQueryFollowsTheFormula) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (int64_t dim = 16; dim <= 256; dim += 16) {
    Tensor x(ElementType::kF32, 2, 9, dim);
    fill_nasty(x);
    for (int64_t row = 0; row < 9; ++row) {
      for (const float factor : {0.18F, -3.0F, 0.0F}) {
        const std::vector<float> q = row_of(x, row);
        const Packed16 expected = reference_pack(q);
        std::vector<int16_t> packed(q.size() + 1, 77);
        float step = kNanF;
        ASSERT_TRUE(kernel.pack_query(q.data(), dim, factor, packed.data(), &step));
        EXPECT_EQ(step, expected.step * factor) << dim << " " << row;
        EXPECT_EQ(packed.back(), 77);
        packed.pop_back();
        ASSERT_EQ(packed, expected.q) << dim << " " << row;
      }
    }
  }
}

/// 70 rows in every layout and dim, `count` of which are packed from an odd first one or gathered.
template <typename Check>
void for_each_source(const Check& check) {
  for (const ElementType type : {ElementType::kF32, ElementType::kF16}) {
    for (const Layout layout : test::kLayouts) {
      for (const int64_t dim : {16, 48, 64, 80, 256}) {
        Tensor x(type, 2, 70, dim, layout);
        fill_nasty(x);
        const RowSource source{x.view().row(1, 0), type, x.view().row_stride};
        std::vector<int32_t> index;
        for (int32_t j = 0; j < 64; ++j) index.push_back((j * 37 + 5) % 70);
        for (const int64_t count : {1, 2, 15, 16, 17, 33, 63, 64}) {
          check(x, source, index.data(), int64_t{0}, count);
          check(x, source, static_cast<const int32_t*>(nullptr), int64_t{0}, count);
          check(x, source, static_cast<const int32_t*>(nullptr), 70 - count, count);
        }
      }
    }
  }
}

TEST_P(Attend16PackTest, PackKeysFollowsTheFormula) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for_each_source([&](const Tensor& x, const RowSource& source, const int32_t* index, int64_t first,
                      int64_t count) {
    const int64_t dim = x.view().dim;
    std::vector<int32_t> packed(static_cast<size_t>(dim / 2 * kAttendBlock) + 1, 77);
    std::vector<float> step(kAttendBlock + 1, kNanF);
    ASSERT_TRUE(kernel.pack_keys(source, index, first, count, dim, packed.data(), step.data()));
    EXPECT_EQ(packed.back(), 77);
    EXPECT_TRUE(std::isnan(step.back()));
    for (int64_t j = 0; j < kAttendBlock; ++j) {
      Packed16 expected;
      expected.q.assign(static_cast<size_t>(dim), 0);
      if (j < count) expected = reference_pack(row_of(x, index != nullptr ? index[j] : first + j));
      ASSERT_EQ(step[static_cast<size_t>(j)], expected.step) << "key " << j;
      for (int64_t d = 0; d < dim; ++d) {
        const int16_t got = kernel.key_element(packed.data(), dim, j, d);
        ASSERT_EQ(got, expected.q[static_cast<size_t>(d)]) << "key " << j << " dim " << d;
      }
    }
  });
}

TEST_P(Attend16PackTest, PackValuesRoundsToBf16) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for_each_source([&](const Tensor& x, const RowSource& source, const int32_t* index, int64_t first,
                      int64_t count) {
    const int64_t dim = x.view().dim;
    std::vector<int32_t> packed(static_cast<size_t>(kAttendBlock / 2 * dim) + 1, 77);
    kernel.pack_values(source, index, first, count, dim, packed.data());
    EXPECT_EQ(packed.back(), 77);
    for (int64_t j = 0; j < kAttendBlock; ++j) {
      for (int64_t d = 0; d < dim; ++d) {
        const uint16_t got = kernel.value_element(packed.data(), dim, j, d);
        const int64_t row = index != nullptr ? index[j] : first + j;
        const uint16_t expected =
            j < count ? test::reference_bf16(test::element(x.view(), 1, row, d)) : 0;
        ASSERT_EQ(got, expected) << "key " << j << " dim " << d;
      }
    }
  });
}

/// What the packing functions refuse; halves are never too large.
std::vector<double> refused(ElementType type) {
  std::vector<double> values = {test::kNan, -test::kNan, test::kInfinity, -test::kInfinity};
  if (type == ElementType::kF32) {
    values.insert(values.end(), {0x1p100, -0x1p100, 3e38, -3e38});
  }
  return values;
}

TEST_P(Attend16PackTest, PackQueryRefusesWhatSixteenBitsCannotHold) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  std::vector<int16_t> packed(80);
  float step = 0.0F;
  for (size_t d = 0; d < 80; ++d) {
    std::vector<float> q(80, 1.0F);
    for (const double bad : refused(ElementType::kF32)) {
      q[d] = static_cast<float>(bad);
      EXPECT_FALSE(kernel.pack_query(q.data(), 80, 1.0F, packed.data(), &step)) << d << " " << bad;
    }
    q[d] = std::nextafter(-0x1p100F, 0.0F);
    EXPECT_TRUE(kernel.pack_query(q.data(), 80, 1.0F, packed.data(), &step)) << d;
  }
  // Nor may the step overflow: logits would be infinite that are not.
  const std::vector<float> q(80, 1e-10F);
  EXPECT_FALSE(kernel.pack_query(q.data(), 80, kInf, packed.data(), &step));
  EXPECT_FALSE(kernel.pack_query(q.data(), 80, -kInf, packed.data(), &step));
  EXPECT_TRUE(kernel.pack_query(q.data(), 80, 1e37F, packed.data(), &step));
}

TEST_P(Attend16PackTest, PackKeysRefusesWhatSixteenBitsCannotHold) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  constexpr int64_t kDim = 48;
  std::vector<int32_t> packed(static_cast<size_t>(kDim / 2 * kAttendBlock));
  std::vector<float> step(kAttendBlock);
  std::vector<int32_t> index;
  for (int32_t j = 0; j < 64; ++j) index.push_back(69 - j);
  for (const ElementType type : {ElementType::kF32, ElementType::kF16}) {
    Tensor x(type, 1, 70, kDim);
    const RowSource source{x.view().data, type, x.view().row_stride};
    const auto takes = [&](const int32_t* list, int64_t first, int64_t count) {
      return kernel.pack_keys(source, list, first, count, kDim, packed.data(), step.data());
    };
    x.fill(type == ElementType::kF16 ? -65504.0 : std::nextafter(0x1p100F, 0.0F));
    EXPECT_TRUE(takes(nullptr, 0, 64));
    x.fill(1.0);
    for (int64_t key = 0; key < 64; ++key) {
      for (const double bad : refused(type)) {
        const int64_t d = (key * 7) % kDim;
        x.set(0, key, d, bad);
        ASSERT_FALSE(takes(nullptr, 0, 64)) << key << " " << d << " " << bad;
        ASSERT_FALSE(takes(nullptr, 0, key + 1)) << key;
        ASSERT_TRUE(takes(nullptr, key + 1, 69 - key < 64 ? 69 - key : 64)) << key;
        ASSERT_TRUE(key == 0 || takes(nullptr, 0, key)) << "a key that is not asked for";
        ASSERT_EQ(takes(index.data(), 0, 64), key < 6) << key;
        x.set(0, key, d, 1.0);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Attend16PackTest, testing::ValuesIn(attend16_kernels()),
                         test::kernel_name<Attend16Kernel>);

}  // namespace
}  // namespace shadowattn
