#include "kernels/score_rank/score_rank.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "kernel_param.h"
#include "kernels/pilot_dot/pilot_dot.h"
#include "random_tensor.h"
#include "reference.h"

namespace shadowattn {
namespace {

struct RankCase {
  std::string label;
  int64_t rows;
  int64_t keys;
  double octaves;  ///< between a row's smallest and largest score
  double top;      ///< log2 of the largest share
};

std::vector<RankCase> rank_cases() {
  std::vector<RankCase> cases = {
      {"one_row", 1, 64, 20.0, 0.0},
      {"odd_rows", 7, 192, 60.0, 0.0},
      {"many_rows", 131, 320, 30.0, -3.0},
      {"engine_tile", 56, 832, 40.0, 0.0},
      {"flat", 5, 128, 0.01, -9.0},
      {"most_underflow", 6, 256, 2000.0, 0.0},
      {"at_the_cap", 9, 128, 100.0, 200.0},
      {"to_infinity", 200, 64, 0.0, 120.0},
      {"all_beyond_both_ends", 3, 128, 1e30, 0.0},
      {"no_keys", 3, 0, 10.0, 0.0},
  };
  for (int64_t rows = 2; rows <= 5; ++rows) {
    cases.push_back({"rows" + std::to_string(rows), rows, 448, 12.0, 0.0});
  }
  return cases;
}

struct Problem {
  explicit Problem(const RankCase& c, uint64_t seed) : rows(c.rows), keys(c.keys) {
    test::Random random(seed);
    stride = keys + random.integer(0, 100);
    for (int64_t i = 0; i < rows * stride; ++i) {
      scores.push_back(static_cast<int8_t>(random.integer(-127, 127)));
    }
    for (int64_t r = 0; r < rows; ++r) {
      const double sign = r % 3 == 2 ? -1.0 : 1.0;  // a negative softmax scale
      const double wide = r % 4 == 1 ? c.octaves * random.uniform() : c.octaves;
      slope.push_back(static_cast<float>(sign * wide / 254.0 * 0x1p23));
      offset.push_back(static_cast<float>((127.0 + c.top - wide / 2) * 0x1p23));
    }
  }

  int16_t expected(int64_t j) const {
    float share = 0.0F;
    for (int64_t r = 0; r < rows; ++r) {
      const auto row = static_cast<size_t>(r);
      const double bits =
          std::fma(static_cast<float>(scores[static_cast<size_t>(r * stride + j)]), slope[row],
                   offset[row]);  // rounded once, to f32
      const double clamped = bits < 0.0 ? 0.0 : bits > 247.0 * 0x1p23 ? 247.0 * 0x1p23 : bits;
      share += std::bit_cast<float>(static_cast<uint32_t>(clamped));
    }
    return static_cast<int16_t>(std::bit_cast<uint32_t>(share) >> 16);
  }

  /// As the header asks: no fma of a score in [-127, 127] leaves the range.
  bool in_range() const {
    for (size_t r = 0; r < slope.size(); ++r) {
      for (const float end : {-127.0F, 127.0F}) {
        const float bits = std::fma(end, slope[r], offset[r]);
        if (!(bits >= 0.0F && bits <= kRankCap)) return false;
      }
    }
    return true;
  }

  int64_t rows;
  int64_t keys;
  int64_t stride;
  std::vector<int8_t> scores;
  std::vector<float> slope;
  std::vector<float> offset;
};

void expect_reference(const ScoreRankKernel& kernel, const Problem& p, bool in_range,
                      size_t shift) {
  constexpr int16_t kUntouched = 12345;
  // Scores end with the last row's, so that a read beyond is seen by AddressSanitizer.
  const auto used = static_cast<size_t>((p.rows - 1) * p.stride + p.keys);
  std::vector<int8_t> scores(shift, 0);
  scores.insert(scores.end(), p.scores.begin(),
                p.scores.begin() + static_cast<std::ptrdiff_t>(used));
  std::vector<int16_t> rank(shift + static_cast<size_t>(p.keys) + 1, kUntouched);
  ScoreRank list;
  list.scores = scores.data() + shift;
  list.stride = p.stride;
  list.rows = p.rows;
  list.keys = p.keys;
  list.slope = p.slope.data();
  list.offset = p.offset.data();
  list.rank = rank.data() + shift;
  list.in_range = in_range;
  kernel.ranks(list);
  for (int64_t j = 0; j < p.keys; ++j) {
    ASSERT_EQ(rank[shift + static_cast<size_t>(j)], p.expected(j)) << "key " << j;
  }
  EXPECT_EQ(rank.back(), kUntouched);
  if (shift > 0) {
    EXPECT_EQ(rank.front(), kUntouched);
  }
}

class ScoreRankCaseTest
    : public testing::TestWithParam<test::KernelParam<ScoreRankKernel, RankCase>> {};

TEST_P(ScoreRankCaseTest, MatchesReference) {
  const ScoreRankKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const Problem p(GetParam().data, seed);
    expect_reference(kernel, p, false, 0);
    expect_reference(kernel, p, false, 1);
    if (p.in_range()) expect_reference(kernel, p, true, 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, ScoreRankCaseTest,
                         testing::ValuesIn(test::cross(score_rank_kernels(), rank_cases())),
                         test::param_label<ScoreRankCaseTest::ParamType>);

TEST(ScoreRankCases, CoverBothRanges) {
  // The variant without clamping must not go untested.
  int in_range = 0;
  int outside = 0;
  for (const RankCase& c : rank_cases()) ++(Problem(c, 1).in_range() ? in_range : outside);
  EXPECT_GE(in_range, 5);
  EXPECT_GE(outside, 3);
}

class ScoreRankTest : public testing::TestWithParam<ScoreRankKernel> {};

TEST_P(ScoreRankTest, RanksAgreeWithThoseOfTheFusedKernels) {
  // Sums small enough to be scores themselves: both families then rank the same numbers.
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  const PilotDotKernel& pilot = pilot_dot_kernels().back();
  constexpr int64_t kRows = 5;
  constexpr int64_t kKeys = 64;
  constexpr int64_t kDim = 16;
  test::Random random(3);
  std::vector<int8_t> q(static_cast<size_t>(kRows * kDim));
  std::vector<int8_t> k(static_cast<size_t>(kKeys * kDim));
  for (int8_t& v : q) v = static_cast<int8_t>(random.integer(-2, 2));
  for (int8_t& v : k) v = static_cast<int8_t>(random.integer(-3, 3));
  const std::vector<float> slope(kRows, 0.125F * 0x1p23F);
  const std::vector<float> offset(kRows, 110.0F * 0x1p23F);
  const std::vector<float> factor(kKeys, 1.0F);
  std::vector<int16_t> expected(kKeys);
  PilotRank fused;
  fused.queries = q.data();  // the scalar kernel packs nothing
  fused.rows = kRows;
  fused.keys = k.data();
  fused.key_blocks = kKeys / kPilotKeyBlock;
  fused.dim = kDim;
  fused.key_factor = factor.data();
  fused.slope = slope.data();
  fused.offset = offset.data();
  fused.rank = expected.data();
  pilot.ranks(fused);

  std::vector<int8_t> scores(kRows * kKeys);
  PilotFixed tile;
  tile.queries = q.data();
  tile.rows = kRows;
  tile.keys = k.data();
  tile.key_blocks = fused.key_blocks;
  tile.dim = kDim;
  tile.requantisation = {.mantissa = 32767, .shift = 0};  // the sum itself, below 2^14
  tile.scores = scores.data();
  tile.stride = kKeys;
  pilot.fixed_scores(tile);
  std::vector<int16_t> rank(kKeys);
  ScoreRank list;
  list.scores = scores.data();
  list.stride = kKeys;
  list.rows = kRows;
  list.keys = kKeys;
  list.slope = slope.data();
  list.offset = offset.data();
  list.rank = rank.data();
  GetParam().ranks(list);
  EXPECT_EQ(rank, expected);
}

TEST_P(ScoreRankTest, WidenIsExact) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  constexpr int16_t kUntouched = 12345;
  for (size_t keys = 0; keys <= 130; ++keys) {
    std::vector<int8_t> scores;
    for (size_t j = 0; j < keys; ++j) {
      scores.push_back(static_cast<int8_t>(static_cast<int>(j * 37 % 256) - 128));
    }
    std::vector<int16_t> out(keys + 1, kUntouched);
    GetParam().widen(scores.data(), static_cast<int64_t>(keys), out.data());
    for (size_t j = 0; j < keys; ++j) ASSERT_EQ(out[j], 256 * scores[j]) << j << " of " << keys;
    ASSERT_EQ(out[keys], kUntouched) << keys;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, ScoreRankTest, testing::ValuesIn(score_rank_kernels()),
                         test::kernel_name<ScoreRankKernel>);

}  // namespace
}  // namespace shadowattn
