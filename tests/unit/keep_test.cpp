#include "kernels/keep/keep.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "kernel_param.h"
#include "q8_0_tensor.h"
#include "reference.h"

namespace shadowattn {
namespace {

using test::gamma;
using test::Layout;
using test::Random;
using test::Tensor;

// --- pages --------------------------------------------------------------------------------------

float share_of(uint16_t half) { return std::bit_cast<float>(static_cast<uint32_t>(half) << 16); }

/// One call of `pages`: operands, results with guards around them, and the formulas in double.
class Pages {
 public:
  Pages(int64_t rows, int64_t pages, int64_t gap, uint64_t seed)
      : rows_(rows), pages_(pages), stride_(pages * kKeepPage + gap) {
    Random random(seed);
    for (int64_t i = 0; i < kOffset + rows * stride_; ++i) {
      const double share = std::exp2(-20.0 * random.uniform());
      half.push_back(random.chance(0.1) ? uint16_t{0} : upper(share));
    }
    for (int64_t r = 0; r < rows; ++r) factor.push_back(static_cast<float>(random.uniform()));
    for (int64_t j = 0; j < pages * kKeepPage; ++j) {
      weight.push_back(static_cast<float>(std::exp2(20.0 * random.uniform() - 10.0)));
    }
    weight[0] = 0.0F;
    weight[5] = kKeepAlways;
    for (int64_t i = 0; i < pages; ++i) {
      forced.push_back(static_cast<uint16_t>(random.bits() & random.bits() & random.bits()));
      seen.push_back(static_cast<uint16_t>(random.bits() | random.bits()));
    }
    // Half the keys or so are above it.
    threshold = static_cast<float>(change(kKeepPage / 2, false));
  }

  static uint16_t upper(double x) {
    return static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(x)) >> 16);
  }
  void set_half(int64_t row, int64_t key, double share) { half[at(row, key)] = upper(share); }

  double share(int64_t row, int64_t key) const {
    return double{share_of(half[at(row, key)])} * factor[static_cast<size_t>(row)];
  }

  double change(int64_t key, bool weighed = true) const {
    double sum = 0.0;
    for (int64_t r = 0; r < rows_; ++r) sum += share(r, key) * share(r, key);
    return weighed ? sum * weight[static_cast<size_t>(key)] : sum;
  }

  /// A share is rounded, its square and the sum over the rows twice a row (without fused
  /// multiply-add), the product with the weight once; everything is positive, so these are
  /// relative.
  double change_error() const { return gamma(2.0 * static_cast<double>(rows_) + 3.0); }

  void expect_reference(const KeepKernel& kernel) {
    run(kernel);
    double lost = 0.0;
    for (int64_t page = 0; page < pages_; ++page) {
      const auto i = static_cast<size_t>(page);
      for (int64_t j = 0; j < kKeepPage; ++j) {
        const int64_t key = page * kKeepPage + j;
        const bool is_seen = (seen[i] >> j & 1U) != 0;
        const bool is_kept = (kept[i] >> j & 1U) != 0;
        if (is_seen && !is_kept) lost += change(key);
        const double c = change(key);
        const bool unclear = std::fabs(c - threshold) <= change_error() * c;
        if (is_seen && (forced[i] >> j & 1U) == 0 && unclear) continue;
        const bool wanted = c > threshold || (forced[i] >> j & 1U) != 0;
        ASSERT_EQ(is_kept, wanted && is_seen) << "key " << key << " change " << c;
      }
      expect_dropped(page);
    }
    // 16 changes of a page are added up in f32, pages in double.
    EXPECT_NEAR(change_lost, lost, (change_error() + gamma(2.0 * kKeepPage)) * lost);
  }

  int64_t kept_keys() const {
    int64_t count = 0;
    for (const uint16_t word : kept) count += std::popcount(word);
    return count;
  }

  std::vector<uint16_t> half;  // the first is a misalignment
  std::vector<float> factor;
  std::vector<float> weight;
  std::vector<uint16_t> forced;
  std::vector<uint16_t> seen;
  float threshold = 0.0F;
  std::vector<uint16_t> kept;
  std::vector<float> dropped;
  double change_lost = 0.0;

 private:
  static constexpr int64_t kOffset = 1;

  size_t at(int64_t row, int64_t key) const {
    return static_cast<size_t>(kOffset + row * stride_ + key);
  }

  void run(const KeepKernel& kernel) {
    constexpr uint16_t kUntouched = 0xABCD;
    constexpr float kUntouchedFloat = -7.0F;
    kept.assign(static_cast<size_t>(pages_) + 1, kUntouched);
    dropped.assign(static_cast<size_t>(pages_ * rows_) + 1, kUntouchedFloat);
    std::vector<float> scratch(static_cast<size_t>(rows_ * kKeepPage) + 1, kUntouchedFloat);
    KeepPages work;
    work.half = half.data() + kOffset;
    work.stride = stride_;
    work.rows = rows_;
    work.pages = pages_;
    work.factor = factor.data();
    work.weight = weight.data();
    work.threshold = threshold;
    work.forced = forced.data();
    work.seen = seen.data();
    work.kept = kept.data();
    work.dropped = dropped.data();
    work.share = scratch.data();
    change_lost = kernel.pages(work);
    EXPECT_EQ(kept.back(), kUntouched);
    EXPECT_EQ(dropped.back(), kUntouchedFloat);
    EXPECT_EQ(scratch.back(), kUntouchedFloat);
    kept.pop_back();
    dropped.pop_back();
  }

  void expect_dropped(int64_t page) const {
    const uint32_t lost = seen[static_cast<size_t>(page)] & ~kept[static_cast<size_t>(page)];
    for (int64_t r = 0; r < rows_; ++r) {
      double sum = 0.0;
      for (int64_t j = 0; j < kKeepPage; ++j) {
        if ((lost >> j & 1U) != 0) sum += share(r, page * kKeepPage + j);
      }
      // The shares, and sums of sixteen.
      ASSERT_NEAR(dropped[static_cast<size_t>(page * rows_ + r)], sum, gamma(kKeepPage + 1.0) * sum)
          << "page " << page << " row " << r;
    }
  }

  int64_t rows_;
  int64_t pages_;
  int64_t stride_;
};

class KeepTest : public testing::TestWithParam<KeepKernel> {};

TEST_P(KeepTest, PagesMatchReference) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const int64_t rows : {16, 32, 48, 64}) {
    for (const int64_t pages : {1, 2, 3, 4, 5}) {
      for (const int64_t gap : {0, 3, 37}) {
        SCOPED_TRACE(std::to_string(rows) + " rows " + std::to_string(pages) + " pages gap " +
                     std::to_string(gap));
        Pages p(rows, pages, gap, static_cast<uint64_t>(rows + 10 * pages + gap));
        p.expect_reference(GetParam());
        EXPECT_GT(p.kept_keys(), 0);
        EXPECT_LT(p.kept_keys(), pages * kKeepPage);
      }
    }
  }
}

TEST_P(KeepTest, EveryKeyOfAPageHasItsOwnBit) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (int64_t key = 0; key < 2 * kKeepPage; ++key) {
    Pages p(16, 2, 5, 1);
    p.forced.assign(2, 0);
    p.seen.assign(2, 0xFFFF);
    p.weight.assign(2 * kKeepPage, 1.0F);
    p.factor.assign(16, 1.0F);
    p.threshold = 0.01F;
    for (int64_t r = 0; r < 16; ++r) {
      for (int64_t j = 0; j < 2 * kKeepPage; ++j) p.set_half(r, j, j == key ? 0.5 : 0x1p-8);
    }
    p.expect_reference(GetParam());
    EXPECT_EQ(p.kept_keys(), 1);
    EXPECT_EQ(p.kept[static_cast<size_t>(key / kKeepPage)], 1U << key % kKeepPage);
  }
}

TEST_P(KeepTest, ThresholdsOfNothingAndOfEverything) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Pages p(32, 3, 7, 2);
  p.threshold = 0.0F;  // every key with a share and a weight
  p.expect_reference(GetParam());
  EXPECT_EQ(p.kept[0] & 1U, p.forced[0] & p.seen[0] & 1U) << "a weight of zero";
  EXPECT_EQ(p.change_lost, 0.0);
  p.threshold = 1e35F;
  p.expect_reference(GetParam());
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(p.kept[i], p.forced[i] & p.seen[i]);
}

TEST_P(KeepTest, EqualToTheThresholdIsDropped) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Pages p(16, 1, 0, 3);
  p.forced[0] = 0;
  p.seen[0] = 0xFFFF;
  p.factor.assign(16, 1.0F);
  p.weight.assign(16, 2.0F);
  for (int64_t r = 0; r < 16; ++r) {
    for (int64_t j = 0; j < kKeepPage; ++j) p.set_half(r, j, j == 7 ? 0.5 : 0.25);
  }
  p.threshold = 2.0F;  // 16 · 0.25² · 2, exactly
  p.expect_reference(GetParam());
  EXPECT_EQ(p.kept[0], 1U << 7);
  EXPECT_EQ(p.change_lost, 30.0);
  EXPECT_EQ(p.dropped[3], 15 * 0.25F);
}

TEST_P(KeepTest, UnseenKeysAreNeitherKeptNorDropped) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Pages p(16, 2, 0, 4);
  p.seen = {0, 0};
  p.forced = {0xFFFF, 0x00F0};
  p.threshold = 0.0F;
  p.expect_reference(GetParam());
  EXPECT_EQ(p.kept_keys(), 0);
  EXPECT_EQ(p.change_lost, 0.0);
  for (const float d : p.dropped) EXPECT_EQ(d, 0.0F);
}

TEST_P(KeepTest, KeysThatAreAlwaysKeptNeedOnlyAShare) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Pages p(16, 1, 0, 5);
  p.forced[0] = 0;
  p.seen[0] = 0xFFFF;
  p.weight.assign(16, kKeepAlways);
  p.threshold = 1e4F;
  for (int64_t r = 0; r < 16; ++r) {
    for (int64_t j = 0; j < kKeepPage; ++j) p.set_half(r, j, j % 2 == 0 || r != 9 ? 0.0 : 1e-12);
  }
  p.expect_reference(GetParam());
  EXPECT_EQ(p.kept[0], 0xAAAA);
  for (const float d : p.dropped) EXPECT_EQ(d, 0.0F);
}

TEST_P(KeepTest, RowsOfFactorZeroCountForNothing) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Pages p(32, 2, 3, 6);
  Pages alone = p;
  for (int64_t r = 17; r < 32; ++r) {
    p.factor[static_cast<size_t>(r)] = alone.factor[static_cast<size_t>(r)] = 0.0F;
    for (int64_t j = 0; j < 2 * kKeepPage; ++j) p.set_half(r, j, 0x1p120);
  }
  p.expect_reference(GetParam());
  alone.expect_reference(GetParam());
  EXPECT_EQ(p.kept, alone.kept);
  EXPECT_EQ(p.dropped, alone.dropped);
  EXPECT_EQ(p.change_lost, alone.change_lost);
  for (size_t r = 17; r < 32; ++r) EXPECT_EQ(p.dropped[r], 0.0F);
}

TEST_P(KeepTest, SharesOfAnyScale) {
  // Halves near the cap with factors as small: the row's level was guessed far too low.
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Pages p(16, 3, 1, 7);
  Random random(8);
  for (int64_t r = 0; r < 16; ++r) {
    const int exponent = static_cast<int>(random.integer(-100, 115));
    for (int64_t j = 0; j < 3 * kKeepPage; ++j) {
      p.set_half(r, j, std::ldexp(random.uniform(), exponent));
    }
    p.factor[static_cast<size_t>(r)] = std::ldexp(0.7F, -exponent);
  }
  p.threshold = static_cast<float>(p.change(20));
  p.expect_reference(GetParam());
}

// --- values -------------------------------------------------------------------------------------

struct PageValues {
  std::vector<float> mean;
  std::vector<float> weight;
};

PageValues run_values(const KeepKernel& kernel, const TensorView& values, int64_t head,
                      int64_t first, int64_t end) {
  constexpr float kUntouched = -7.0F;
  const int64_t pages = (end - first + kKeepPage - 1) / kKeepPage;
  PageValues got;
  got.mean.assign(static_cast<size_t>(pages * values.dim) + 1, kUntouched);
  got.weight.assign(static_cast<size_t>(pages * kKeepPage) + 1, kUntouched);
  kernel.values({values.row(head, 0), values.type, values.row_stride}, first, pages, end,
                values.dim, got.mean.data(), got.weight.data());
  EXPECT_EQ(got.mean.back(), kUntouched);
  EXPECT_EQ(got.weight.back(), kUntouched);
  got.mean.pop_back();
  got.weight.pop_back();
  return got;
}

/// Means and weights of pages of finite values, in double.
void expect_reference_values(const KeepKernel& kernel, const TensorView& values, int64_t head,
                             int64_t first, int64_t end) {
  const PageValues got = run_values(kernel, values, head, first, end);
  for (int64_t begin = first; begin < end; begin += kKeepPage) {
    const int64_t page = (begin - first) / kKeepPage;
    const int64_t count = std::min(kKeepPage, end - begin);
    std::vector<double> weight(kKeepPage, 0.0);
    std::vector<double> error(kKeepPage, 0.0);
    std::vector<double> larger(kKeepPage, 0.0);
    for (int64_t d = 0; d < values.dim; ++d) {
      double sum = 0.0;
      double magnitude = 0.0;
      for (int64_t j = 0; j < count; ++j) {
        sum += test::element(values, head, begin + j, d);
        magnitude += std::fabs(test::element(values, head, begin + j, d));
      }
      const double mean = sum / static_cast<double>(count);
      // The sum, the rounded 1 / count, the product.
      const double mean_error =
          gamma(static_cast<double>(count) + 2.0) * magnitude / static_cast<double>(count);
      ASSERT_NEAR(got.mean[static_cast<size_t>(page * values.dim + d)], mean, mean_error + 0x1p-149)
          << "page " << page << " dim " << d;
      for (int64_t j = 0; j < count; ++j) {
        const auto i = static_cast<size_t>(j);
        const double away = std::fabs(test::element(values, head, begin + j, d) - mean);
        const double away_error = mean_error + test::kUnit * (away + mean_error);
        weight[i] += away * away;
        error[i] += (2.0 * away + away_error) * away_error;
        larger[i] += (away + away_error) * (away + away_error);
      }
    }
    for (int64_t j = 0; j < kKeepPage; ++j) {
      const auto i = static_cast<size_t>(j);
      // A square and a sum per dim.
      const double tolerance = error[i] + gamma(2.0 * static_cast<double>(values.dim)) * larger[i];
      ASSERT_NEAR(got.weight[static_cast<size_t>(page * kKeepPage + j)], weight[i], tolerance)
          << "page " << page << " key " << j;
    }
  }
}

TEST_P(KeepTest, ValuesMatchReference) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const ElementType type : {ElementType::kF32, ElementType::kF16}) {
    for (const Layout layout : test::kLayouts) {
      for (const int64_t dim : {16, 48, 64, 80, 128, 256}) {
        Tensor x(type, 2, 70, dim, layout);
        x.fill_random(1);
        for (int64_t i = 0; i < 70; ++i) {  // what lies outside is not read
          if (i < 3 || i >= 67) x.fill_row(1, i, test::kNan);
        }
        expect_reference_values(GetParam(), x.view(), 1, 3, 67);
        for (int64_t end = 36; end < 51; ++end) {  // last pages of 1 … 15 keys
          expect_reference_values(GetParam(), x.view(), 1, 3, end);
        }
      }
    }
  }
}

TEST_P(KeepTest, ValuesOfQ8MatchReference) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const Layout layout : test::kLayouts) {
    for (const int64_t dim : {32, 64, 96, 256}) {
      const test::Q8Tensor x = test::Q8Tensor::random(2, 70, dim, layout, 1);
      expect_reference_values(GetParam(), x.view(), 1, 3, 67);
      for (int64_t end = 36; end < 51; ++end) {
        expect_reference_values(GetParam(), x.view(), 1, 3, end);
      }
    }
  }
}

TEST_P(KeepTest, ValuesFarFromZeroKeepTheirDifferences) {
  // |v|² - |mean|² would lose them.
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Tensor x(ElementType::kF32, 1, 32, 64);
  Random random(3);
  x.for_each([&](int64_t, int64_t, int64_t) { return 1000.0 + random.normal(); });
  expect_reference_values(GetParam(), x.view(), 0, 0, 32);
}

TEST_P(KeepTest, EqualValuesWeighNothing) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const double value : {0.0, 1.0, -3.0, 0x1p120}) {
    Tensor x(ElementType::kF32, 1, 24, 32);
    x.fill(value);
    const PageValues got = run_values(GetParam(), x.view(), 0, 0, 24);
    for (const float m : got.mean) EXPECT_EQ(m, static_cast<float>(value));
    for (const float w : got.weight) EXPECT_EQ(w, 0.0F);
  }
}

TEST_P(KeepTest, PagesWithNanOrInfinityAreAlwaysKept) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const ElementType type : {ElementType::kF32, ElementType::kF16}) {
    for (const double bad : {test::kNan, test::kInfinity, -test::kInfinity}) {
      for (int64_t at = 0; at < 32; ++at) {
        Tensor x(type, 1, 41, 32);
        x.fill_random(1);
        const PageValues clean = run_values(GetParam(), x.view(), 0, 0, 41);
        const int64_t page = at % 3;
        const int64_t key = page * kKeepPage + at % (page == 2 ? 9 : 16);
        x.set(0, key, at, bad);
        const PageValues got = run_values(GetParam(), x.view(), 0, 0, 41);
        for (int64_t i = 0; i < 3 * 32; ++i) {
          const auto d = static_cast<size_t>(i);
          EXPECT_EQ(got.mean[d], i / 32 == page ? 0.0F : clean.mean[d]);
        }
        for (int64_t j = 0; j < 3 * kKeepPage; ++j) {
          const auto i = static_cast<size_t>(j);
          const float always = j < 41 ? kKeepAlways : 0.0F;
          EXPECT_EQ(got.weight[i], j / kKeepPage == page ? always : clean.weight[i]) << j;
        }
      }
    }
  }
}

TEST_P(KeepTest, ValuesWhoseSquaresOrSumsOverflowAreAlwaysKept) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const double large : {1e16, 1e20, 1e30, 3e38}) {
    Tensor x(ElementType::kF32, 1, 16, 16);
    x.fill_random(1);
    x.set(0, 3, 7, large);
    const PageValues got = run_values(GetParam(), x.view(), 0, 0, 16);
    for (const float m : got.mean) EXPECT_EQ(m, 0.0F);
    for (const float w : got.weight) EXPECT_EQ(w, kKeepAlways);
  }
  Tensor x(ElementType::kF32, 1, 16, 16);
  x.fill(0x1p126);
  const PageValues got = run_values(GetParam(), x.view(), 0, 0, 16);
  for (const float m : got.mean) EXPECT_EQ(m, 0.0F);
  for (const float w : got.weight) EXPECT_EQ(w, kKeepAlways);
}

INSTANTIATE_TEST_SUITE_P(Kernels, KeepTest, testing::ValuesIn(keep_kernels()),
                         test::kernel_name<KeepKernel>);

TEST(KeepRowsTest, RowsOfAPageSuitEveryAttendKernel) {
  // The far field's shares go to `add_output` as they are.
  for (const AttendKernel& kernel : attend_kernels()) {
    EXPECT_EQ(kKeepRows % kernel.row_multiple, 0) << kernel.name;
  }
}

}  // namespace
}  // namespace shadowattn
