#include "kernels/pilot_dot/pilot_dot.h"

#include <gtest/gtest.h>

#include "kernel_param.h"
#include "reference.h"
#include "vnni256_emulated.h"

namespace shadowattn {
namespace {

enum class Values { kRandom, kAllLargest, kAlternating, kZero };

struct PilotCase {
  std::string label;
  int64_t rows;
  int64_t keys;
  int64_t dim;
  Values values = Values::kRandom;
};

std::vector<PilotCase> pilot_cases() {
  std::vector<PilotCase> cases = {
      {"1x1x16", 1, 1, 16},
      {"1x16x256", 1, 16, 256},
      {"3x15x64", 3, 15, 64},
      {"7x33x128", 7, 33, 128},
      {"8x48x80", 8, 48, 80},
      {"9x31x240", 9, 31, 240},
      {"17x100x48", 17, 100, 48},
      {"64x257x64", 64, 257, 64},
      {"5x32x256_all_127", 5, 32, 256, Values::kAllLargest},
      {"6x17x256_plus_minus_127", 6, 17, 256, Values::kAlternating},
      {"2x20x32_zero", 2, 20, 32, Values::kZero},
      {"13x33x256_all_127", 13, 33, 256, Values::kAllLargest},
      {"32x47x256_plus_minus_127", 32, 47, 256, Values::kAlternating},
  };
  for (int64_t rows = 1; rows <= 12; ++rows) {  // every remainder of every kernel's row step
    cases.push_back({"rows" + std::to_string(rows) + "_70x32", rows, 70, 32});
  }
  return cases;
}

int8_t value(Values values, test::Random& random, int64_t row, int64_t d) {
  switch (values) {
    case Values::kRandom:
      return static_cast<int8_t>(random.integer(-127, 127));
    case Values::kAllLargest:
      return row % 2 == 0 ? 127 : -127;
    case Values::kAlternating:
      return (row + d) % 2 == 0 ? 127 : -127;
    case Values::kZero:
      break;
  }
  return 0;
}

std::vector<int8_t> matrix(Values values, test::Random& random, int64_t rows, int64_t dim) {
  std::vector<int8_t> m;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t d = 0; d < dim; ++d) m.push_back(value(values, random, r, d));
  }
  return m;
}

/// Inputs of one tile, and its scores by the formula. Scores may fill the whole 16-bit range.
struct Problem {
  Problem(const PilotCase& c, uint64_t seed, double overshoot = 1.0)
      : rows(c.rows), keys(c.keys), dim(c.dim) {
    test::Random random(seed);
    q = matrix(c.values, random, rows, dim);
    k = matrix(c.values, random, keys, dim);
    blocks = (keys + kPilotKeyBlock - 1) / kPilotKeyBlock;
    for (int64_t j = 0; j < blocks * kPilotKeyBlock; ++j) {
      key_factor.push_back(j % 7 == 3 ? 1.0F : static_cast<float>(random.uniform()));
    }
    for (int64_t r = 0; r < rows; ++r) {
      const double sign = r % 3 == 2 ? -1.0 : 1.0;  // a negative softmax scale
      const double largest = static_cast<double>(dim) * 127.0 * 127.0;
      row_factor.push_back(static_cast<float>(sign * overshoot * 32766.0 / largest *
                                              (r % 2 == 0 ? 1.0 : random.uniform())));
    }
  }

  int16_t expected(int64_t r, int64_t j) const {
    if (j >= keys) return 0;
    return test::reference_score(q.data() + r * dim, k.data() + j * dim, dim,
                                 key_factor[static_cast<size_t>(j)],
                                 row_factor[static_cast<size_t>(r)]);
  }

  int64_t sum(int64_t r, int64_t j) const {
    int64_t dot = 0;
    for (int64_t d = 0; j < keys && d < dim; ++d) {
      dot += int64_t{q[static_cast<size_t>(r * dim + d)]} * k[static_cast<size_t>(j * dim + d)];
    }
    return dot;
  }

  int64_t rows;
  int64_t keys;
  int64_t dim;
  int64_t blocks = 0;
  std::vector<int8_t> q;
  std::vector<int8_t> k;
  std::vector<float> key_factor;
  std::vector<float> row_factor;
};

/// [rows][stride], gaps untouched. `offset` misaligns every packed operand and the scores.
std::vector<int16_t> run(const PilotDotKernel& kernel, const Problem& p, int64_t stride,
                         size_t offset) {
  constexpr int16_t kUntouched = 12345;
  const auto key_bytes = static_cast<size_t>(p.blocks * kernel.key_block_bytes(p.dim));
  const auto query_bytes = static_cast<size_t>(p.rows * kernel.query_row_bytes(p.dim));
  std::vector<int8_t> keys(key_bytes + 4 * offset, 77);  // 4 bytes: packed words may be int32
  std::vector<int8_t> queries(query_bytes + 4 * offset, 77);
  std::vector<float> key_factor(offset, 0.0F);
  key_factor.insert(key_factor.end(), p.key_factor.begin(), p.key_factor.end());
  std::vector<int16_t> scores(static_cast<size_t>(p.rows * stride) + offset, kUntouched);

  kernel.pack_keys(p.k.data(), p.keys, p.dim, keys.data() + 4 * offset);
  kernel.pack_queries(p.q.data(), p.rows, p.dim, queries.data() + 4 * offset);
  PilotTile tile;
  tile.queries = queries.data() + 4 * offset;
  tile.rows = p.rows;
  tile.keys = keys.data() + 4 * offset;
  tile.key_blocks = p.blocks;
  tile.dim = p.dim;
  tile.key_factor = key_factor.data() + offset;
  tile.row_factor = p.row_factor.data();
  tile.scores = scores.data() + offset;
  tile.stride = stride;
  kernel.scores(tile);
  scores.erase(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(offset));
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t j = p.blocks * kPilotKeyBlock; j < stride; ++j) {
      EXPECT_EQ(scores[static_cast<size_t>(r * stride + j)], kUntouched) << "row " << r;
    }
  }
  return scores;
}

void expect_reference(const PilotDotKernel& kernel, const Problem& p, int64_t stride,
                      size_t offset) {
  const std::vector<int16_t> got = run(kernel, p, stride, offset);
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t j = 0; j < p.blocks * kPilotKeyBlock; ++j) {
      ASSERT_EQ(got[static_cast<size_t>(r * stride + j)], p.expected(r, j))
          << "row " << r << " key " << j;
    }
  }
}

class PilotDotCaseTest
    : public testing::TestWithParam<test::KernelParam<PilotDotKernel, PilotCase>> {};

TEST_P(PilotDotCaseTest, MatchesReference) {
  const PilotDotKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const Problem p(GetParam().data, 1);
  const int64_t width = p.blocks * kPilotKeyBlock;
  expect_reference(kernel, p, width, 0);
  expect_reference(kernel, p, width + 5, 1);
}

TEST_P(PilotDotCaseTest, ClampsWhatDoesNotFit) {
  const PilotDotKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  for (const double overshoot : {1.00004, 1.5, 1000.0}) {
    const Problem p(GetParam().data, 2, overshoot);
    expect_reference(kernel, p, p.blocks * kPilotKeyBlock, 0);
  }
}

/// slope and offset of a row whose largest possible score is 2^`top` times a share of one.
struct RankScale {
  std::vector<float> slope;
  std::vector<float> offset;

  RankScale(const Problem& p, double octaves, double top) {
    test::Random random(7);
    for (int64_t r = 0; r < p.rows; ++r) {
      const double largest = static_cast<double>(p.dim) * 127.0 * 127.0;
      const double sign = r % 3 == 2 ? -1.0 : 1.0;
      slope.push_back(static_cast<float>(sign * octaves * random.uniform() / largest * 0x1p23));
      offset.push_back(static_cast<float>((127.0 + top - octaves * random.uniform()) * 0x1p23));
    }
  }
};

void expect_reference_ranks(const PilotDotKernel& kernel, const Problem& p, const RankScale& scale,
                            size_t offset) {
  constexpr int16_t kUntouched = 12345;
  const auto width = static_cast<size_t>(p.blocks * kPilotKeyBlock);
  std::vector<int8_t> keys(static_cast<size_t>(p.blocks * kernel.key_block_bytes(p.dim)) + 4);
  std::vector<int8_t> queries(static_cast<size_t>(p.rows * kernel.query_row_bytes(p.dim)) + 4);
  kernel.pack_keys(p.k.data(), p.keys, p.dim, keys.data() + 4 * offset);
  kernel.pack_queries(p.q.data(), p.rows, p.dim, queries.data() + 4 * offset);
  std::vector<int16_t> rank(width + offset + 1, kUntouched);
  PilotRank list;
  list.queries = queries.data() + 4 * offset;
  list.rows = p.rows;
  list.keys = keys.data() + 4 * offset;
  list.key_blocks = p.blocks;
  list.dim = p.dim;
  list.key_factor = p.key_factor.data();
  list.slope = scale.slope.data();
  list.offset = scale.offset.data();
  list.rank = rank.data() + offset;
  kernel.ranks(list);
  const std::vector<int8_t> padding(static_cast<size_t>(p.dim), 0);
  for (size_t j = 0; j < width; ++j) {
    const int8_t* k = static_cast<int64_t>(j) < p.keys
                          ? p.k.data() + static_cast<int64_t>(j) * p.dim
                          : padding.data();
    ASSERT_EQ(rank[offset + j], test::reference_rank(p.q.data(), p.rows, k, p.dim, p.key_factor[j],
                                                     scale.slope.data(), scale.offset.data()))
        << "key " << j;
  }
  EXPECT_EQ(rank[offset + width], kUntouched);
}

TEST_P(PilotDotCaseTest, RanksMatchReference) {
  const PilotDotKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const Problem p(GetParam().data, 3);
  expect_reference_ranks(kernel, p, RankScale(p, 30.0, 0.0), 0);    // as the engine asks
  expect_reference_ranks(kernel, p, RankScale(p, 0.01, 0.0), 1);    // nearly uniform rows
  expect_reference_ranks(kernel, p, RankScale(p, 400.0, 0.0), 0);   // most shares underflow
  expect_reference_ranks(kernel, p, RankScale(p, 60.0, 150.0), 1);  // and at the cap
}

/// Scores of one tile; `offset` misaligns them and the packed operands. Gaps must stay untouched.
void expect_reference_fixed(const PilotDotKernel& kernel, const Problem& p, Requantisation r,
                            int64_t stride, size_t offset) {
  constexpr int8_t kUntouched = -128;  // no score
  std::vector<int8_t> keys(static_cast<size_t>(p.blocks * kernel.key_block_bytes(p.dim)) + 4);
  std::vector<int8_t> queries(static_cast<size_t>(p.rows * kernel.query_row_bytes(p.dim)) + 4);
  kernel.pack_keys(p.k.data(), p.keys, p.dim, keys.data() + 4 * offset);
  kernel.pack_queries(p.q.data(), p.rows, p.dim, queries.data() + 4 * offset);
  const int64_t width = p.blocks * kPilotKeyBlock;
  // Ends where the last row does, so that a store beyond is seen by AddressSanitizer.
  std::vector<int8_t> scores(offset + static_cast<size_t>((p.rows - 1) * stride + width),
                             kUntouched);
  PilotFixed tile;
  tile.queries = queries.data() + 4 * offset;
  tile.rows = p.rows;
  tile.keys = keys.data() + 4 * offset;
  tile.key_blocks = p.blocks;
  tile.dim = p.dim;
  tile.requantisation = r;
  tile.scores = scores.data() + offset;
  tile.stride = stride;
  kernel.fixed_scores(tile);
  for (int64_t i = 0; i < static_cast<int64_t>(scores.size()); ++i) {
    const int64_t at = i - static_cast<int64_t>(offset);
    int8_t expected = kUntouched;
    if (at >= 0 && at % stride < width) {
      expected = test::reference_requantised(p.sum(at / stride, at % stride), r.mantissa, r.shift);
    }
    ASSERT_EQ(scores[static_cast<size_t>(i)], expected)
        << "row " << at / stride << " key " << at % stride << " mantissa " << r.mantissa
        << " shift " << r.shift;
  }
}

TEST_P(PilotDotCaseTest, FixedScoresMatchReference) {
  const PilotDotKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const Problem p(GetParam().data, 5);
  const int64_t width = p.blocks * kPilotKeyBlock;
  for (const Requantisation r :
       {Requantisation{128, 15}, Requantisation{255, 15}, Requantisation{201, 8},
        Requantisation{129, 5}, Requantisation{254, 1}, Requantisation{128, 0},
        Requantisation{255, 0}, Requantisation{12345, 0}, Requantisation{32767, 0}}) {
    expect_reference_fixed(kernel, p, r, width, 0);
    expect_reference_fixed(kernel, p, r, width + 5, 1);
  }
}

/// Upper half of the share of one row and key, as PilotShares defines it.
uint16_t reference_share(int64_t dot, float key_factor, float slope, float offset) {
  const float product = static_cast<float>(dot) * key_factor;
  const double bits = std::fma(product, slope, offset);  // rounded once, to f32
  return static_cast<uint16_t>(std::clamp(std::nearbyint(bits), 0.0, 247.0 * 128.0));
}

/// The scales of ranks are of whole bits, those of shares of their upper halves.
RankScale share_scale(const Problem& p, double spread, double raised) {
  RankScale scale(p, spread, raised);
  for (float& slope : scale.slope) slope *= 0x1p-16F;
  for (float& offset : scale.offset) offset *= 0x1p-16F;
  return scale;
}

/// The same with operands of seven bits: ±127 becomes ±63.
Problem seven_bits(const PilotCase& c, uint64_t seed) {
  Problem p(c, seed);
  for (int8_t& q : p.q) q = static_cast<int8_t>(q * 63 / 127);
  for (int8_t& k : p.k) k = static_cast<int8_t>(k * 63 / 127);
  return p;
}

/// `offset` misaligns all operands and results; what lies around the results must stay untouched.
void expect_reference_shares(const PilotDotKernel& kernel, const Problem& p, const RankScale& scale,
                             int64_t gap, size_t offset) {
  constexpr uint16_t kUntouched = 12345;  // as a share 2^-30.4
  constexpr float kBefore = 3.0F;
  std::vector<int8_t> keys(static_cast<size_t>(p.blocks * kernel.key_block_bytes(p.dim)) + 4);
  std::vector<int8_t> queries(static_cast<size_t>(p.rows * kernel.query_row_bytes(p.dim)) + 4);
  kernel.pack_keys(p.k.data(), p.keys, p.dim, keys.data() + 4 * offset);
  kernel.pack_queries7(p.q.data(), p.rows, p.dim, queries.data() + 4 * offset);
  std::vector<float> key_factor(offset, 0.0F);
  key_factor.insert(key_factor.end(), p.key_factor.begin(), p.key_factor.end());
  const int64_t width = p.blocks * kPilotKeyBlock;
  const int64_t stride = width + gap;
  const auto at_half = [&](int64_t r, int64_t j) {
    return offset + static_cast<size_t>(r * stride + j);
  };
  // Ends where the last row does, so that a store beyond is seen by AddressSanitizer.
  std::vector<uint16_t> half(at_half(p.rows - 1, width), kUntouched);
  std::vector<float> total(offset + static_cast<size_t>(p.rows * kShareLanes), kBefore);
  PilotShares list;
  list.queries = queries.data() + 4 * offset;
  list.rows = p.rows;
  list.keys = keys.data() + 4 * offset;
  list.key_blocks = p.blocks;
  list.dim = p.dim;
  list.key_factor = key_factor.data() + offset;
  list.slope = scale.slope.data();
  list.offset = scale.offset.data();
  list.half = half.data() + offset;
  list.stride = stride;
  list.total = total.data() + offset;
  kernel.shares(list);
  for (size_t i = 0; i < offset; ++i) {
    EXPECT_EQ(half[i], kUntouched);
    EXPECT_EQ(total[i], kBefore);
  }
  for (int64_t r = 0; r < p.rows; ++r) {
    const auto row = static_cast<size_t>(r);
    double sum = kBefore * kShareLanes;  // all are positive: the sum is its own magnitude
    for (int64_t j = 0; j < width; ++j) {
      const uint16_t expected = reference_share(p.sum(r, j), p.key_factor[static_cast<size_t>(j)],
                                                scale.slope[row], scale.offset[row]);
      ASSERT_EQ(half[at_half(r, j)], expected) << "row " << r << " key " << j;
      sum += std::bit_cast<float>(static_cast<uint32_t>(expected) << 16);
    }
    for (int64_t j = width; r + 1 < p.rows && j < stride; ++j) {
      EXPECT_EQ(half[at_half(r, j)], kUntouched) << "row " << r;
    }
    double got = 0.0;
    for (int64_t lane = 0; lane < kShareLanes; ++lane) {
      got += total[offset + static_cast<size_t>(r * kShareLanes + lane)];
    }
    // In any order every share is rounded at most `width` times.
    EXPECT_NEAR(got, sum, test::gamma(static_cast<double>(width)) * sum) << "row " << r;
  }
}

TEST_P(PilotDotCaseTest, SharesMatchReference) {
  const PilotDotKernel& kernel = GetParam().kernel;
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel);
  const Problem p = seven_bits(GetParam().data, 8);
  expect_reference_shares(kernel, p, share_scale(p, 30.0, 0.0), 0, 0);    // as the engine asks
  expect_reference_shares(kernel, p, share_scale(p, 0.01, 0.0), 3, 1);    // nearly uniform rows
  expect_reference_shares(kernel, p, share_scale(p, 900.0, 0.0), 32, 0);  // most shares underflow
  expect_reference_shares(kernel, p, share_scale(p, 60.0, 150.0), 5, 1);  // and at the cap
}

std::vector<PilotDotKernel> kernels() {
  std::vector<PilotDotKernel> all = pilot_dot_kernels();
#if defined(__x86_64__)
  all.push_back(test::emulated_avxvnni());
#endif
  return all;
}

INSTANTIATE_TEST_SUITE_P(Kernels, PilotDotCaseTest,
                         testing::ValuesIn(test::cross(kernels(), pilot_cases())),
                         test::param_label<PilotDotCaseTest::ParamType>);

class PilotDotTest : public testing::TestWithParam<PilotDotKernel> {};

TEST_P(PilotDotTest, HalvesGoToEven) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Problem p({"", 1, 32, 16}, 1);
  std::fill(p.q.begin(), p.q.end(), static_cast<int8_t>(0));
  std::fill(p.k.begin(), p.k.end(), static_cast<int8_t>(0));
  p.q[0] = 1;
  for (int64_t j = 0; j < 32; ++j) p.k[static_cast<size_t>(j * 16)] = static_cast<int8_t>(j - 16);
  std::fill(p.key_factor.begin(), p.key_factor.end(), 0.5F);
  p.row_factor[0] = 1.0F;
  const std::vector<int16_t> got = run(GetParam(), p, 32, 0);
  EXPECT_EQ(got[17], 0);   // 0.5
  EXPECT_EQ(got[19], 2);   // 1.5
  EXPECT_EQ(got[15], 0);   // -0.5
  EXPECT_EQ(got[13], -2);  // -1.5
  expect_reference(GetParam(), p, 32, 0);
}

TEST_P(PilotDotTest, FixedScoresRoundHalvesUpAndClampEverySum) {
  // One product per score, so that every sum from -127 · 127 to 127 · 127 in steps comes up.
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Problem p({"", 127, 256, 16}, 1);
  std::fill(p.q.begin(), p.q.end(), static_cast<int8_t>(0));
  std::fill(p.k.begin(), p.k.end(), static_cast<int8_t>(0));
  for (int64_t r = 0; r < p.rows; ++r)
    p.q[static_cast<size_t>(r * 16)] = static_cast<int8_t>(r + 1);
  for (int64_t j = 0; j < p.keys; ++j) {
    p.k[static_cast<size_t>(j * 16)] = static_cast<int8_t>(std::min<int64_t>(j, 254) - 127);
  }
  for (const Requantisation r :
       {Requantisation{16384, 0}, Requantisation{32767, 0}, Requantisation{128, 0},
        Requantisation{128, 1}, Requantisation{255, 3}, Requantisation{192, 6}}) {
    expect_reference_fixed(GetParam(), p, r, p.keys, 0);
  }
}

TEST_P(PilotDotTest, ZeroFactorsGiveZero) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Problem p({"", 3, 20, 64}, 4);
  std::fill(p.key_factor.begin(), p.key_factor.end(), 0.0F);
  for (const int16_t score : run(GetParam(), p, 32, 0)) EXPECT_EQ(score, 0);
}

TEST_P(PilotDotTest, SharesOfSevenBitsNeverOverflowSixteen) {
  // All pairs of the largest values beside each other, with signs that add up and that do not.
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const int64_t dim : {16, 32, 48, 64, 80, 96, 112, 128, 192, 256}) {
    Problem p({"", 4, 64, dim}, 9);
    for (int64_t r = 0; r < p.rows; ++r) {
      for (int64_t d = 0; d < dim; ++d) {
        p.q[static_cast<size_t>(r * dim + d)] =
            static_cast<int8_t>((r >> d % 2 & 1) != 0 ? 63 : -63);
      }
    }
    for (int64_t j = 0; j < p.keys; ++j) {
      for (int64_t d = 0; d < dim; ++d) {
        p.k[static_cast<size_t>(j * dim + d)] =
            static_cast<int8_t>((j >> d % 4 & 1) != 0 ? 63 : -63);
      }
    }
    std::fill(p.key_factor.begin(), p.key_factor.end(), 1.0F);
    expect_reference_shares(GetParam(), p, share_scale(p, 100.0, 50.0), 1, 1);
  }
}

TEST_P(PilotDotTest, SharesAddToTheTotalsOfBlocksBefore) {
  // As TileEstimate does: runs of blocks, one after the other, into the same totals.
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  const PilotDotKernel& kernel = GetParam();
  const Problem p = seven_bits({"", 5, 96, 32}, 10);
  const RankScale scale = share_scale(p, 20.0, 0.0);
  std::vector<int8_t> keys(static_cast<size_t>(p.blocks * kernel.key_block_bytes(p.dim)));
  std::vector<int8_t> queries(static_cast<size_t>(p.rows * kernel.query_row_bytes(p.dim)));
  kernel.pack_keys(p.k.data(), p.keys, p.dim, keys.data());
  kernel.pack_queries7(p.q.data(), p.rows, p.dim, queries.data());
  const auto run_blocks = [&](std::vector<int64_t> ends) {
    std::vector<uint16_t> half(static_cast<size_t>(p.rows * p.keys));
    std::vector<float> total(static_cast<size_t>(p.rows * kShareLanes), 0.0F);
    int64_t first = 0;
    for (const int64_t end : ends) {
      PilotShares list;
      list.queries = queries.data();
      list.rows = p.rows;
      list.keys = keys.data() + first * kernel.key_block_bytes(p.dim);
      list.key_blocks = end - first;
      list.dim = p.dim;
      list.key_factor = p.key_factor.data() + first * kPilotKeyBlock;
      list.slope = scale.slope.data();
      list.offset = scale.offset.data();
      list.half = half.data() + first * kPilotKeyBlock;
      list.stride = p.keys;
      list.total = total.data();
      kernel.shares(list);
      first = end;
    }
    return std::pair(half, total);
  };
  EXPECT_EQ(run_blocks({6}), run_blocks({1, 4, 6}));
}

TEST_P(PilotDotTest, NothingToDo) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  PilotTile tile;
  tile.dim = 64;
  GetParam().scores(tile);
  PilotFixed fixed;
  fixed.dim = 64;
  GetParam().fixed_scores(fixed);
  PilotShares shares;
  shares.dim = 64;
  GetParam().shares(shares);
  const int8_t none = 0;
  int8_t untouched = 1;
  GetParam().pack_keys(&none, 0, 64, &untouched);
  GetParam().pack_queries(&none, 0, 64, &untouched);
  GetParam().pack_queries7(&none, 0, 64, &untouched);
  EXPECT_EQ(untouched, 1);
}

TEST_P(PilotDotTest, KeysMayBePackedInPieces) {
  // As the engine does: chunks of whole blocks, by different threads.
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  const PilotDotKernel& kernel = GetParam();
  const Problem p({"", 1, 75, 48}, 6);
  const auto bytes = static_cast<size_t>(p.blocks * kernel.key_block_bytes(p.dim));
  std::vector<int8_t> whole(bytes, 1);
  std::vector<int8_t> pieces(bytes, 2);
  kernel.pack_keys(p.k.data(), p.keys, p.dim, whole.data());
  kernel.pack_keys(p.k.data() + 32 * p.dim, p.keys - 32, p.dim,
                   pieces.data() + 2 * kernel.key_block_bytes(p.dim));
  kernel.pack_keys(p.k.data(), 32, p.dim, pieces.data());
  EXPECT_EQ(whole, pieces);
}

INSTANTIATE_TEST_SUITE_P(Kernels, PilotDotTest, testing::ValuesIn(kernels()),
                         test::kernel_name<PilotDotKernel>);

}  // namespace
}  // namespace shadowattn
