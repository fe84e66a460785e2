#include "kernels/attend16/attend16.h"

#include <gtest/gtest.h>

#include <bit>

#include "attend16_problem.h"
#include "kernel_param.h"

namespace shadowattn {
namespace {

using test::AttendCase;
using test::Bias;
using test::Content;
using test::expect_reference16;
using test::Feed;
using test::Layout;
using Problem = test::AttendProblem;
using test::run16;
using test::State16;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNanF = std::numeric_limits<float>::quiet_NaN();

std::vector<AttendCase> attend16_cases() {
  std::vector<AttendCase> cases = test::attend_cases();
  for (int64_t rows = 1; rows <= 13; ++rows) {  // every way to cut rows into groups
    cases.push_back({"rows" + std::to_string(rows), rows, 77, 48, 80, Bias::kHalfHidden});
  }
  for (int64_t dim = 16; dim <= 256; dim += 16) {
    const ElementType type = dim % 32 == 0 ? ElementType::kF16 : ElementType::kF32;
    cases.push_back({"dim" + std::to_string(dim), 7, 70, dim, 272 - dim, Bias::kNone, 0.0F,
                     Content::kNormal, type});
  }
  return cases;
}

/// About half of the keys, in order.
std::vector<int32_t> some_keys(int64_t keys) {
  test::Random random(8);
  std::vector<int32_t> index = {static_cast<int32_t>(keys - 1)};
  for (int64_t j = keys - 2; j >= 0; --j) {
    if (random.chance(0.5)) index.insert(index.begin(), static_cast<int32_t>(j));
  }
  return index;
}

class Attend16CaseTest
    : public testing::TestWithParam<test::KernelParam<Attend16Kernel, AttendCase>> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Attend16CaseTest);

TEST_P(Attend16CaseTest, MatchesReference) {
  const Attend16Kernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const Problem p(GetParam().data);
  for (const int64_t step : {kAttendBlock, int64_t{13}, int64_t{1}}) {
    for (const bool gathered : {false, true}) {
      Feed feed;
      feed.step = step;
      if (gathered) feed.index = some_keys(GetParam().data.keys);
      expect_reference16(p, run16(kernel, p, feed), feed);
    }
  }
}

TEST_P(Attend16CaseTest, AlignmentDoesNotMatter) {
  const Attend16Kernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const Problem p(GetParam().data);
  Feed feed;
  const State16 expected = run16(kernel, p, feed);
  feed.misaligned = 1;
  EXPECT_EQ(run16(kernel, p, feed).out, expected.out);
}

/// Random runs of positions, some of them empty or beyond the keys.
void set_random_ranges(Problem& p, Feed& feed, uint64_t seed) {
  test::Random random(seed);
  std::vector<int32_t> begin;
  std::vector<int32_t> end;
  const int64_t keys = p.call.key.rows;
  for (int64_t r = 0; r < p.call.query.rows; ++r) {
    const int64_t first = random.integer(0, keys);
    begin.push_back(static_cast<int32_t>(first));
    end.push_back(static_cast<int32_t>(random.integer(first, keys + (r % 2) * 50)));
  }
  test::set_ranges(p, feed, begin, end);
}

TEST_P(Attend16CaseTest, RangesHideAsABiasDoes) {
  const Attend16Kernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const uint64_t seed : {1, 2, 3}) {
    Problem p(GetParam().data);
    Feed feed;
    feed.step = seed == 2 ? 24 : kAttendBlock;
    set_random_ranges(p, feed, seed);
    feed.with_bias = false;
    const State16 by_range = run16(kernel, p, feed);
    expect_reference16(p, by_range, feed);
    feed.with_bias = true;
    EXPECT_EQ(run16(kernel, p, feed).out, by_range.out);
    Feed bias_only;
    bias_only.step = feed.step;
    EXPECT_EQ(run16(kernel, p, bias_only).out, by_range.out);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Attend16CaseTest,
                         testing::ValuesIn(test::cross(attend16_kernels(), attend16_cases())),
                         test::param_label<Attend16CaseTest::ParamType>);

class Attend16Test : public testing::TestWithParam<Attend16Kernel> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Attend16Test);

// --- Weights ------------------------------------------------------------------------------------

/// One row whose query is zero, so that the bias alone is its logit, and 16 one-hot values: `out`
/// holds the weights as they are used.
struct OneHot {
  explicit OneHot(const Attend16Kernel& kernel) : kernel_(kernel) {
    std::vector<float> value(256, 0.0F);
    for (size_t j = 0; j < 16; ++j) value[j * 17] = 1.0F;
    kernel.pack_values({value.data(), ElementType::kF32, 64}, nullptr, 0, 16, 16, value_.data());
  }

  void run(const std::vector<float>& logits) {
    std::ranges::copy(logits, bias_.begin());
    Attend16Block block;
    block.query = query_.data();
    block.query_step = &step_;
    block.key = key_.data();
    block.key_step = key_step_.data();
    block.value = value_.data();
    block.rows = 1;
    block.keys = std::ssize(logits);
    block.dim = 16;
    block.value_dim = 16;
    block.bias = bias_.data();
    block.max = &max;
    block.sum = sum.data();
    block.out = out.data();
    block.weights = weights_.data();
    kernel_.block(block);
  }

  float total() const {
    float all = 0.0F;
    for (const float lane : sum) all += lane;
    return all;
  }

  float max = -kInf;
  std::vector<float> sum = std::vector<float>(kAttend16Lanes, 0.0F);
  std::vector<float> out = std::vector<float>(16, 0.0F);

 private:
  const Attend16Kernel& kernel_;
  float step_ = 0.0F;
  std::vector<int16_t> query_ = std::vector<int16_t>(16, 0);
  std::vector<int32_t> key_ = std::vector<int32_t>(8 * kAttendBlock, 0);
  std::vector<float> key_step_ = std::vector<float>(kAttendBlock, 0.0F);
  std::vector<int32_t> value_ = std::vector<int32_t>(kAttendBlock / 2 * 16);
  std::vector<float> bias_ = std::vector<float>(kAttendBlock, 0.0F);
  std::vector<uint16_t> weights_ = std::vector<uint16_t>(kAttend16Weights);
};

TEST_P(Attend16Test, WeightsArePowersOfTwoRoundedToBf16) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const auto rounded = [](double x) {
    return std::bit_cast<float>(uint32_t{test::reference_bf16(static_cast<float>(x))} << 16);
  };
  test::Random random(1);
  for (int repeat = 0; repeat < 20000; ++repeat) {
    OneHot row(kernel);
    row.max = 0.0F;  // as if a logit of 0 had been seen
    std::vector<float> logits;
    for (int j = 0; j < 16; ++j) {
      const double low = repeat % 2 == 0 ? -125.9 : -2.0;
      logits.push_back(static_cast<float>(low + (8.0 - low) * random.uniform()));
    }
    row.run(logits);
    ASSERT_EQ(row.max, 0.0F) << "raised within the slack";
    for (size_t j = 0; j < 16; ++j) {
      const double exact = std::exp2(static_cast<double>(logits[j]));
      ASSERT_GE(row.out[j], rounded(exact * (1.0 - test::kExp2Error))) << logits[j];
      ASSERT_LE(row.out[j], rounded(exact * (1.0 + test::kExp2Error))) << logits[j];
    }
    double used = 0.0;
    for (const float weight : row.out) used += weight;
    ASSERT_NEAR(row.total(), used, used * test::gamma(17)) << "the sum is of what is used";
  }
}

TEST_P(Attend16Test, WeightsAtTheEdges) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  OneHot row(kernel);
  row.max = 0.0F;
  row.run({-kInf, -1e30F, -161.0F, -160.0F, -149.0F, -127.0F, -126.5F, 0.0F, -0.0F, 8.0F});
  for (size_t j = 0; j < 4; ++j) EXPECT_EQ(row.out[j], 0.0F) << j;
  for (size_t j = 4; j < 7; ++j) EXPECT_LE(row.out[j], 0x1p-126F) << j;
  EXPECT_EQ(row.out[7], 1.0F);
  EXPECT_EQ(row.out[8], 1.0F);
  EXPECT_EQ(row.out[9], 256.0F);
  for (size_t j = 10; j < 16; ++j) EXPECT_EQ(row.out[j], 0.0F) << "beyond the keys";
  OneHot nan(kernel);
  nan.run({0.0F, kNanF, 0.0F});
  EXPECT_TRUE(std::isnan(nan.total()));
}

TEST_P(Attend16Test, ReferenceIsRaisedOnlyBeyondTheSlack) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  OneHot row(kernel);
  row.run({-3.0F, -5.0F});
  EXPECT_EQ(row.max, -3.0F);  // the first maximum
  row.run({5.0F});            // 8 above: not more than the slack
  EXPECT_EQ(row.max, -3.0F);
  EXPECT_EQ(row.total(), 1.25F + 256.0F);
  EXPECT_EQ(row.out[0], 1.0F + 256.0F);
  row.run({5.5F, 4.5F, -10.0F});
  EXPECT_EQ(row.max, 5.5F);
  // 2^-8.5 of what there was, one new weight of 1, one of 1/2, and the rest.
  const double old = std::exp2(-8.5);
  EXPECT_NEAR(row.out[0], 257.0 * old + 1.0, 257.0 * old * 2e-5 + 2e-6);
  EXPECT_NEAR(row.out[1], 0.25 * old + 0.5, 1e-6);
  EXPECT_NEAR(row.total(), 257.25 * old + 1.5 + std::exp2(-15.5), 1e-5);
  row.run({-1e30F});
  EXPECT_EQ(row.max, 5.5F);
  row.run({1e30F});  // what was before is nothing beside it
  EXPECT_EQ(row.max, 1e30F);
  EXPECT_EQ(row.total(), 1.0F);
}

TEST_P(Attend16Test, EqualValuesComeBackWhatTheWeights) {
  // The weights that are summed are the rounded ones: their error cancels.
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  Problem p({"", 9, 500, 64, 48, Bias::kRandom});
  p.value.fill(1.25);
  const State16 got = run16(kernel, p);
  for (const float value : got.out) ASSERT_NEAR(value, 1.25, 1.25 * 2 * test::gamma(530));
}

// --- Rows and keys ------------------------------------------------------------------------------

TEST_P(Attend16Test, ARowDoesNotDependOnItsNeighbours) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  Problem p({"", 13, 200, 48, 80});
  Feed feed;
  set_random_ranges(p, feed, 5);
  feed.with_bias = false;
  const State16 together = run16(kernel, p, feed);
  for (int64_t r = 0; r < 13; ++r) {
    const auto i = static_cast<size_t>(r);
    Problem alone({"", 1, 200, 48, 80});
    for (int64_t d = 0; d < 48; ++d) {
      alone.query.set(Problem::kHead, 0, d, test::element(p.query.view(), Problem::kHead, r, d));
    }
    Feed one;
    test::set_ranges(alone, one, {feed.row_begin[i]}, {feed.row_end[i]});
    one.with_bias = false;
    const State16 got = run16(kernel, alone, one);
    EXPECT_EQ(got.max[0], together.max[i]);
    for (size_t d = 0; d < 80; ++d) EXPECT_EQ(got.out[d], together.out[i * 80 + d]) << r;
  }
}

TEST_P(Attend16Test, RangesEndWhereTheySay) {
  // At the edges of blocks, where whole groups of rows change from one path to another.
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  Problem p({"", 6, 192, 16, 16});
  for (const int32_t begin : {0, 1, 63, 64, 65, 127, 128}) {
    for (const int32_t end : {0, 1, 63, 64, 65, 127, 128, 129, 191, 192}) {
      for (const int32_t slant : {0, 1}) {  // all rows alike, or causal
        Feed feed;
        std::vector<int32_t> ends;
        for (int32_t r = 0; r < 6; ++r) ends.push_back(std::max(begin, end + slant * (r - 3)));
        test::set_ranges(p, feed, std::vector<int32_t>(6, begin), ends);
        feed.with_bias = false;
        const State16 by_range = run16(kernel, p, feed);
        expect_reference16(p, by_range, feed);
        ASSERT_EQ(run16(kernel, p).out, by_range.out) << begin << " " << end;  // by bias
      }
    }
  }
}

TEST_P(Attend16Test, RowsThatSeeNothingStayAsTheyWere) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const bool by_range : {true, false}) {
    for (const int64_t rows : {1, 6, 7, 100}) {  // whole groups, and single rows of a group
      for (const int64_t blind : {int64_t{1}, int64_t{2}, rows}) {
        Problem p({"", rows, 70, 32, 48, Bias::kRandom});
        Feed feed;
        const auto count = static_cast<size_t>(rows);
        std::vector<int32_t> end(count, 70);
        for (size_t r = 0; r < count; r += static_cast<size_t>(blind)) end[r] = 0;
        if (blind == rows) end.assign(count, 0);
        test::set_ranges(p, feed, std::vector<int32_t>(count, 0), end);
        if (!by_range) feed.row_begin.clear();
        if (!by_range) feed.row_end.clear();
        feed.with_bias = !by_range;
        expect_reference16(p, run16(kernel, p, feed), feed);
      }
    }
  }
}

TEST_P(Attend16Test, HiddenKeysNeverMatter) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const double junk[] = {1e30, -1e30, 0.0, 1e-30, 1e5};
  const int64_t hidden[] = {0, 5, 63, 64, 69};
  std::vector<test::Output> outputs;
  for (const bool dirty : {false, true}) {
    Problem p({"", 9, 70, 32, 48, Bias::kSomeRowsHidden});
    for (size_t i = 0; i < 5; ++i) {
      for (int64_t r = 0; r < 9; ++r) p.mask.set(0, r, hidden[i], -test::kInfinity);
      if (dirty) p.key.fill_row(Problem::kHead, hidden[i], junk[i]);
      if (dirty) p.value.fill_row(Problem::kHead, hidden[i], junk[i]);
    }
    const State16 got = run16(kernel, p);
    expect_reference16(p, got);
    outputs.push_back(got.out);
  }
  EXPECT_EQ(outputs[0], outputs[1]);
}

TEST_P(Attend16Test, NanAndInfinityInTheBiasShowInTheirRowsOnly) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const int64_t key : {0, 3, 63, 64, 69}) {
    for (const double bad : {test::kNan, test::kInfinity}) {
      for (const float cap : {0.0F, 10.0F}) {
        Problem p({"", 9, 70, 32, 48, Bias::kHalfHidden, cap});
        p.mask.set(0, 4, key, bad);
        for (const int64_t step : {kAttendBlock, int64_t{5}}) {
          Feed feed;
          feed.step = step;
          expect_reference16(p, run16(kernel, p, feed), feed);
        }
      }
    }
    // A row that sees nothing else.
    Problem p({"", 9, 70, 32, 48, Bias::kSomeRowsHidden});
    p.mask.set(0, 4, key, test::kNan);
    expect_reference16(p, run16(kernel, p));
  }
}

// --- Extremes -----------------------------------------------------------------------------------

TEST_P(Attend16Test, LargestSumsDoNotOverflow) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (int64_t dim = 16; dim <= 256; dim += 16) {
    Problem p({"", 4, 70, dim, 32});
    p.call.scale = 5.0F / static_cast<float>(dim);
    p.query.for_each([](int64_t, int64_t r, int64_t d) {
      return r < 2 ? (r == 0 ? 1.0 : -1.0) : (d % 2 == 0 ? 1.0 : -1.0);
    });
    p.key.for_each([](int64_t, int64_t j, int64_t d) {
      return (j % 2 == 0 ? 1.0 : -1.0) * (j % 3 == 0 && d % 2 == 1 ? -1.0 : 1.0);
    });
    expect_reference16(p, run16(kernel, p));
  }
}

TEST_P(Attend16Test, ExtremeMagnitudes) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  struct Magnitudes {
    double query;
    double key;
    double value;
  };
  const Magnitudes cases[] = {
      {0.0, 0.0, 1.0},         // all logits zero: the mean of the values
      {1e-29, 1e-29, 1.0},     // logits underflow to zero
      {0x1p-149, 1e29, 1.0},   // subnormal operands
      {0x1p-99, 0x1p99, 1.0},  // steps at both ends
      {0x1p98, 0x1p-98, 1.0}, {1.0, 1.0, 0x1p-120}, {1.0, 1.0, 0x1p-140},  // subnormal values
      {1.0, 1.0, 0x1p99},     {1e18, 1e-17, 1.0},                          // logits of some hundred
  };
  for (const Magnitudes& m : cases) {
    for (const Content content : {Content::kNormal, Content::kOutliers}) {
      Problem p({"", 9, 70, 32, 48});
      p.query.fill_random(1, Content::kNormal, m.query / 4);
      p.key.fill_random(2, content, m.key / 128);
      test::Random random(3);
      p.value.for_each([&](int64_t, int64_t, int64_t) { return m.value * random.uniform(); });
      expect_reference16(p, run16(kernel, p));
    }
  }
}

TEST_P(Attend16Test, LogitsNearTheLargestFloat) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  Problem p({"", 9, 70, 32, 48});
  p.query.fill(1e19);
  p.key.for_each([&](int64_t, int64_t j, int64_t) { return j == 40 ? 1e18 : -1e18; });
  for (const int64_t step : {kAttendBlock, int64_t{7}}) {
    Feed feed;
    feed.step = step;
    const State16 got = run16(kernel, p, feed);
    for (int64_t i = 0; i < 9 * 48; ++i) {  // the maximum takes everything
      const auto value =
          static_cast<float>(test::element(p.call.value, Problem::kHead, 40, i % 48));
      const uint32_t rounded = uint32_t{test::reference_bf16(value)} << 16;
      ASSERT_EQ(got.out[static_cast<size_t>(i)], std::bit_cast<float>(rounded));
    }
  }
}

TEST_P(Attend16Test, RisingLogitsRescaleEveryBlock) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const double slope : {0.1, 0.5, 5.0, -5.0, 200.0}) {
    for (const int64_t step : {kAttendBlock, int64_t{16}, int64_t{3}}) {
      Problem p({"", 7, 300, 16, 32});
      p.query.fill(1.0);
      p.key.for_each([&](int64_t, int64_t j, int64_t) { return slope * double(j) / 4; });
      Feed feed;
      feed.step = step;
      expect_reference16(p, run16(kernel, p, feed), feed);
    }
  }
}

TEST_P(Attend16Test, SoftcapSaturates) {
  const Attend16Kernel& kernel = GetParam();
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const double magnitude : {1.0, 1e4, 1e25}) {
    for (const Bias bias : {Bias::kNone, Bias::kRandom}) {
      Problem p({"", 9, 70, 32, 48, bias, 2.0F});
      for (int64_t d = 0; d < 32; ++d) {
        for (int64_t r = 0; r < 9; ++r) p.query.set(Problem::kHead, r, d, magnitude);
        p.key.set(Problem::kHead, 6, d, magnitude);
        p.key.set(Problem::kHead, 7, d, -magnitude);
      }
      expect_reference16(p, run16(kernel, p));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Attend16Test, testing::ValuesIn(attend16_kernels()),
                         test::kernel_name<Attend16Kernel>);

}  // namespace
}  // namespace shadowattn
