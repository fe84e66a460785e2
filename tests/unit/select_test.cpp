#include "kernels/select/select.h"

#include <gtest/gtest.h>

#include "kernel_param.h"
#include "reference.h"

namespace shadowattn {
namespace {

enum class Scores { kUniform, kFewValues, kAllEqual, kExtremes, kMostlyHidden, kForced };

struct SelectCase {
  std::string label;
  Scores scores;
};

std::vector<SelectCase> select_cases() {
  return {{"uniform", Scores::kUniform},
          {"few_values", Scores::kFewValues},
          {"all_equal", Scores::kAllEqual},
          {"extremes", Scores::kExtremes},
          {"mostly_hidden", Scores::kMostlyHidden},
          {"forced", Scores::kForced}};
}

constexpr int64_t kSizes[] = {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 255, 1000};

int16_t score(Scores scores, test::Random& random) {
  const auto draw = [&](int64_t low, int64_t high) {
    return static_cast<int16_t>(random.integer(low, high));
  };
  switch (scores) {
    case Scores::kUniform:
      return random.chance(0.1) ? kHiddenScore : draw(-32767, kLargestScore);
    case Scores::kFewValues:
      return draw(-2, 2);
    case Scores::kAllEqual:
      return -5;
    case Scores::kExtremes: {
      constexpr int16_t kValues[] = {kHiddenScore,  kHiddenScore + 1, -1, 0,
                                     kLargestScore, kForcedScore};
      return kValues[random.integer(0, 5)];
    }
    case Scores::kMostlyHidden:
      return random.chance(0.9) ? kHiddenScore : draw(-100, 100);
    case Scores::kForced:
      return random.chance(0.2) ? kForcedScore : draw(-20000, 20000);
  }
  return 0;
}

/// n scores and the padding, `offset` elements into a buffer that ends with them.
class ScoreRow {
 public:
  ScoreRow(int64_t n, size_t offset)
      : offset_(offset),
        buffer_(static_cast<size_t>(padded_scores(n)) + offset, kHiddenScore),
        n_(n) {}

  int16_t* data() { return buffer_.data() + offset_; }
  std::vector<int16_t> values() const {
    return {buffer_.begin() + static_cast<std::ptrdiff_t>(offset_), buffer_.end()};
  }
  void fill(Scores scores, test::Random& random) {
    for (int64_t j = 0; j < n_; ++j) data()[j] = score(scores, random);
  }

 private:
  size_t offset_;
  std::vector<int16_t> buffer_;
  int64_t n_;
};

std::vector<int32_t> top_k(const SelectKernel& kernel, ScoreRow& row, int64_t n, int64_t k) {
  std::vector<int32_t> out(static_cast<size_t>(std::min(n, k)), -1);  // ASan sees one too many
  const int64_t count = kernel.top_k(row.data(), n, k, out.data());
  EXPECT_LE(count, k);
  out.resize(static_cast<size_t>(count));
  return out;
}

class SelectCaseTest : public testing::TestWithParam<test::KernelParam<SelectKernel, SelectCase>> {
};

TEST_P(SelectCaseTest, TopKMatchesSort) {
  const SelectKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  test::Random random(7);
  for (const int64_t n : kSizes) {
    for (const size_t offset : {0U, 1U}) {
      ScoreRow row(n, offset);
      row.fill(GetParam().data.scores, random);
      for (const int64_t k : {int64_t{1}, int64_t{2}, n / 10 + 1, n / 2 + 1, n - 1, n, n + 1}) {
        ASSERT_EQ(top_k(kernel, row, n, k), test::reference_top_k(row.values(), n, k))
            << "n " << n << " k " << k;
      }
    }
  }
}

TEST_P(SelectCaseTest, RowMaxMatchesReference) {
  const SelectKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  test::Random random(8);
  for (const int64_t n : kSizes) {
    ScoreRow row(n, 1);
    row.fill(GetParam().data.scores, random);
    const std::vector<int16_t> values = row.values();
    ASSERT_EQ(kernel.row_max(row.data(), n), *std::max_element(values.begin(), values.end())) << n;
  }
}

TEST_P(SelectCaseTest, MergeMatchesReference) {
  const SelectKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  test::Random random(9);
  for (const int64_t n : kSizes) {
    ScoreRow importance(n, 1);
    std::vector<int16_t> expected = importance.values();
    for (int repeat = 0; repeat < 4; ++repeat) {
      ScoreRow row(n, 1);
      row.fill(GetParam().data.scores, random);
      const int16_t max = kernel.row_max(row.data(), n);
      kernel.merge(row.data(), max, n, importance.data());
      for (int64_t j = 0; j < n; ++j) {
        const int32_t s = row.data()[j];
        if (s == kHiddenScore) continue;
        int16_t& slot = expected[static_cast<size_t>(j)];
        slot = std::max(slot, static_cast<int16_t>(std::max(s - max, -32767)));
      }
      ASSERT_EQ(importance.values(), expected) << n;
    }
  }
}

TEST_P(SelectCaseTest, ExpSumMatchesReference) {
  const SelectKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  test::Random random(10);
  for (const int64_t n : kSizes) {
    ScoreRow row(n, 1);
    row.fill(GetParam().data.scores, random);
    const int16_t max = kernel.row_max(row.data(), n);
    for (const float c : {0.0F, 1e-38F, 1e-6F, 3.7e-4F, 0.01F, 1.0F, 100.0F, 1e30F}) {
      const int64_t sum = kernel.exp_sum(row.data(), max, n, c);
      ASSERT_EQ(sum, test::reference_exp_sum(row.values(), max, c)) << "n " << n << " c " << c;
      // Between the exact sum and 6.2 % more. A term may be rounded by a half, and its logarithm
      // by 2^-17 (x + 127 in f32).
      double exact = 0.0;
      for (const int16_t s : row.values()) {
        if (s != kHiddenScore) exact += std::exp2((s - max) * static_cast<double>(c));
      }
      const double got = static_cast<double>(sum) / kExpSumOne;
      const double rounding = static_cast<double>(n) * (0.5 / kExpSumOne + 0x1p-17);
      ASSERT_GE(got, exact - rounding);
      ASSERT_LE(got, 1.062 * exact + rounding);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, SelectCaseTest,
                         testing::ValuesIn(test::cross(select_kernels(), select_cases())),
                         test::param_label<SelectCaseTest::ParamType>);

class SelectTest : public testing::TestWithParam<SelectKernel> {};

TEST_P(SelectTest, NothingVisible) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  ScoreRow row(40, 0);
  EXPECT_EQ(GetParam().row_max(row.data(), 40), kHiddenScore);
  EXPECT_TRUE(top_k(GetParam(), row, 40, 7).empty());
  EXPECT_EQ(GetParam().row_max(row.data(), 0), kHiddenScore);
  EXPECT_EQ(GetParam().top_k(row.data(), 0, 7, nullptr), 0);
  EXPECT_EQ(GetParam().top_k(row.data(), 40, 0, nullptr), 0);
}

TEST_P(SelectTest, EqualScoresGoToTheSmallerIndex) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  ScoreRow row(70, 0);
  for (int64_t j = 0; j < 70; ++j) row.data()[j] = j == 50 ? 9 : 3;
  EXPECT_EQ(top_k(GetParam(), row, 70, 4), (std::vector<int32_t>{0, 1, 2, 50}));
}

TEST_P(SelectTest, LongRows) {
  // Longer than what 16-bit counters of matches could hold, all equal and all different.
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  constexpr int64_t kKeys = 1200007;
  ScoreRow row(kKeys, 1);
  for (const bool equal : {true, false}) {
    for (int64_t j = 0; j < kKeys; ++j) {
      row.data()[j] = equal ? int16_t{17} : static_cast<int16_t>(j * 7919 % 65534 - 32767);
    }
    for (const int64_t k : {int64_t{3}, int64_t{1048577}}) {
      ASSERT_TRUE(top_k(GetParam(), row, kKeys, k) == test::reference_top_k(row.values(), kKeys, k))
          << k;
    }
  }
}

TEST_P(SelectTest, LongRowsSumExactly) {
  // A lane of 32 bits must not overflow: every term is the largest there is.
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  constexpr int64_t kKeys = 1200007;
  ScoreRow row(kKeys, 1);
  std::fill_n(row.data(), kKeys, int16_t{-9});
  EXPECT_EQ(GetParam().exp_sum(row.data(), -9, kKeys, 0.5F), kKeys * kExpSumOne);
  EXPECT_EQ(GetParam().exp_sum(row.data(), 0, 0, 0.5F), 0);
}

TEST_P(SelectTest, EveryThreshold) {
  // The bisection must find every value of the range, first and last included.
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (int32_t value = kHiddenScore + 1; value <= kForcedScore; value += 97) {
    ScoreRow row(33, 0);
    for (int64_t j = 0; j < 33; ++j) {
      row.data()[j] = static_cast<int16_t>(std::max<int64_t>(value - (j % 3), kHiddenScore + 1));
    }
    for (const int64_t k : {1, 11, 12, 22, 23, 33}) {
      ASSERT_EQ(top_k(GetParam(), row, 33, k), test::reference_top_k(row.values(), 33, k))
          << value << " k " << k;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, SelectTest, testing::ValuesIn(select_kernels()),
                         test::kernel_name<SelectKernel>);

}  // namespace
}  // namespace shadowattn
