// What a row loses by its list, against plain sums over all keys.
#include "attend/row_sampler.h"

#include <gtest/gtest.h>

#include "baseline_reference.h"
#include "kernels/family.h"
#include "q8_0_tensor.h"
#include "shadow_cases.h"

namespace shadowattn {
namespace {

using test::Problem;
using test::Random;
using test::Shape;

struct Expected : RowSample {
  double highest_recall = 0.0;  ///< when shares that f32 can hardly tell apart count as equal
};

Expected expected_sample(const Problem& p, int64_t head, int64_t row,
                         const std::vector<int32_t>& list) {
  Expected sample;
  const std::vector<double> shares = test::reference_shares(p.call, head, row);
  std::vector<double> sorted;
  std::vector<double> kept;
  for (int64_t j = 0; j < p.shape.keys; ++j) {
    if (!test::reference_sees(p.call, head, row, j)) continue;
    const double share = shares[static_cast<size_t>(j)];
    sorted.push_back(share);
    if (std::binary_search(list.begin(), list.end(), j)) {
      kept.push_back(share);
    } else {
      sample.lost += share;
    }
  }
  std::sort(sorted.rbegin(), sorted.rend());
  sample.visible = std::ssize(sorted);
  sample.kept = std::ssize(kept);
  double left = std::accumulate(kept.begin(), kept.end(), 0.0);
  const double nothing = 1e-12 * left;  // what is left of it by rounding
  for (int64_t i = 0; i < sample.visible; ++i) {
    const double share = sorted[static_cast<size_t>(i)];
    if (i >= sample.kept) sample.oracle_lost += share;
    if (left > nothing) ++sample.oracle_kept;
    left -= share;
  }
  for (const double share : kept) {
    const double one = 1.0 / static_cast<double>(kept.size());
    const double least = sorted[kept.size() - 1];
    sample.recall += share >= least ? one : 0.0;
    sample.highest_recall += share >= least * (1.0 - 1e-5) ? one : 0.0;
  }
  return sample;
}

RowSample measure(const Problem& p, int64_t head, int64_t row, const TokenList& list) {
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(p.call, *executor);
  RowSampler sampler;
  return sampler.measure(p.call, visibility, head, row, list,
                         best_kernel(attend_kernels(), detect_cpu_features()));
}

TokenList list_of(const std::vector<int32_t>& keys) { return {keys.data(), 0, std::ssize(keys)}; }

std::vector<int32_t> random_list(int64_t keys, double share, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> list;
  for (int64_t j = 0; j < keys; ++j) {
    if (random.chance(share)) list.push_back(static_cast<int32_t>(j));
  }
  return list;
}

/// Shares come from f32 sums, which cannot tell some of them apart.
void expect_near(const RowSample& got, const Expected& expected) {
  EXPECT_EQ(got.visible, expected.visible);
  EXPECT_EQ(got.kept, expected.kept);
  EXPECT_NEAR(got.lost, expected.lost, 2e-5);
  EXPECT_NEAR(got.oracle_lost, expected.oracle_lost, 2e-5);
  EXPECT_NEAR(static_cast<double>(got.oracle_kept), static_cast<double>(expected.oracle_kept), 1.0);
  const double one = 1.0 / static_cast<double>(std::max<int64_t>(expected.kept, 1));
  EXPECT_GE(got.recall, expected.recall - 1.01 * one);
  EXPECT_LE(got.recall, expected.highest_recall + 1.01 * one);
  EXPECT_LE(got.oracle_lost, got.lost);
  EXPECT_LE(got.oracle_kept, got.kept);
}

void expect_right(const Problem& p) {
  for (int64_t h = 0; h < p.shape.heads; ++h) {
    for (int64_t i = 0; i < p.shape.rows; i += 2) {
      for (const double share : {0.02, 0.3, 0.9}) {
        SCOPED_TRACE("head " + std::to_string(h) + " row " + std::to_string(i));
        const auto list = random_list(p.shape.keys, share, static_cast<uint64_t>(h * 100 + i));
        expect_near(measure(p, h, i, list_of(list)), expected_sample(p, h, i, list));
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST(RowSamplerTest, EveryMask) {
  for (const test::ShadowCase& c : test::shadow_cases()) {
    SCOPED_TRACE(c.label);
    Problem p(c.shape);
    c.prepare(p);
    expect_right(p);
  }
}

TEST(RowSamplerTest, LongContexts) {
  for (const test::ShadowCase& c : test::long_cases()) {
    SCOPED_TRACE(c.label);
    Problem p(c.shape);
    c.prepare(p);
    const auto list = random_list(p.shape.keys, 0.2, 3);
    expect_near(measure(p, 1, 3, list_of(list)), expected_sample(p, 1, 3, list));
  }
}

TEST(RowSamplerTest, SoftcapAndSinkLogits) {
  for (const float sink : {-5.0F, 4.0F, 60.0F, -std::numeric_limits<float>::infinity()}) {
    Problem p({4, 2, 5, 300, 48, 32, ElementType::kF16});
    p.set_causal(295);
    p.call.logit_softcap = 3.0F;
    p.set_sinks({sink, 1.0F, sink, -1.0F});
    expect_right(p);
  }
}

TEST(RowSamplerTest, EveryElementType) {
  Problem p({2, 1, 3, 130, 64, 32});
  const test::Q8Tensor keys = test::Q8Tensor::random(1, 130, 64, test::Layout::kGaps, 7);
  p.call.key = keys.view();
  expect_right(p);
}

TEST(RowSamplerTest, EmptyAndFullLists) {
  Problem p({2, 1, 9, 200, 32, 32});
  p.set_causal(191);
  const RowSample none = measure(p, 0, 4, {});
  EXPECT_EQ(none.visible, 196);
  EXPECT_EQ(none.kept, 0);
  EXPECT_EQ(none.oracle_kept, 0);
  EXPECT_NEAR(none.lost, 1.0, 1e-12);
  EXPECT_NEAR(none.oracle_lost, 1.0, 1e-12);
  EXPECT_EQ(none.recall, 0.0);
  const RowSample all = measure(p, 0, 4, {nullptr, 0, 200});
  EXPECT_EQ(all.kept, 196);
  EXPECT_EQ(all.lost, 0.0);
  EXPECT_EQ(all.oracle_lost, 0.0);
  EXPECT_EQ(all.recall, 1.0);
  EXPECT_LE(all.oracle_kept, 196);
  p.set_mask([](int64_t, int64_t, int64_t) { return -test::kInfinity; });
  const RowSample blind = measure(p, 0, 4, {nullptr, 0, 200});
  EXPECT_EQ(blind.visible, 0);
  EXPECT_EQ(blind.kept, 0);
  EXPECT_EQ(blind.lost, 0.0);
}

TEST(RowSamplerTest, TheBestListIsTheOracles) {
  Problem p({1, 1, 1, 500, 32, 32, ElementType::kF32, test::Layout::kDense, test::Content::kPeaky});
  const std::vector<double> shares = test::reference_shares(p.call, 0, 0);
  std::vector<int32_t> order(500);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return shares[static_cast<size_t>(a)] > shares[static_cast<size_t>(b)];
  });
  for (const int64_t count : {1, 2, 17, 250, 499, 500}) {
    std::vector<int32_t> list(order.begin(), order.begin() + count);
    std::sort(list.begin(), list.end());
    const RowSample sample = measure(p, 0, 0, list_of(list));
    EXPECT_EQ(sample.kept, count);
    EXPECT_EQ(sample.oracle_kept, count);
    EXPECT_NEAR(sample.oracle_lost, sample.lost, 1e-12);
    EXPECT_EQ(sample.recall, 1.0);
  }
}

TEST(RowSamplerTest, EqualSharesAreAllTheBest) {
  Problem p({1, 1, 1, 100, 32, 32});
  p.key.fill(0.25);
  const std::vector<int32_t> list = {3, 50, 98};
  const RowSample sample = measure(p, 0, 0, list_of(list));
  EXPECT_NEAR(sample.lost, 0.97, 1e-9);
  EXPECT_NEAR(sample.oracle_lost, 0.97, 1e-9);
  EXPECT_EQ(sample.oracle_kept, 3);
  EXPECT_EQ(sample.recall, 1.0);
}

TEST(RowSamplerTest, NanAndInfinityAreSurvived) {
  for (const double bad : {test::kNan, test::kInfinity, -test::kInfinity}) {
    Problem p({1, 1, 2, 100, 32, 32});
    p.key.set(0, 40, 5, bad);
    const RowSample sample = measure(p, 0, 1, {nullptr, 20, 50});
    EXPECT_EQ(sample.visible, 100);
    EXPECT_TRUE(std::isfinite(sample.lost + sample.oracle_lost + sample.recall));
    p.set_mask([](int64_t, int64_t, int64_t j) { return j == 40 ? -test::kInfinity : 0.0; });
    EXPECT_EQ(measure(p, 0, 1, {nullptr, 20, 50}).kept, 49) << "a hidden key does not matter";
  }
}

/// ‖o - ô‖ ≤ 2 · lost · max ‖v‖, and a list of one key with all the mass against it.
TEST(RowSamplerTest, LostMassBoundsTheErrorOfTheOutput) {
  for (const bool sinks : {false, true}) {
    for (const test::Content content : {test::Content::kNormal, test::Content::kPeaky}) {
      Problem p({2, 1, 6, 150, 32, 16, ElementType::kF32, test::Layout::kDense, content});
      if (sinks) p.set_sinks({2.0F, 5.0F});
      double largest = 0.0;
      for (int64_t j = 0; j < 150; ++j) {
        double norm = 0.0;
        for (int64_t d = 0; d < 16; ++d) {
          norm += std::pow(test::element(p.call.value, 0, j, d), 2);
        }
        largest = std::max(largest, std::sqrt(norm));
      }
      for (int64_t i = 0; i < 12; ++i) {
        const auto list = random_list(150, 0.05 + 0.07 * static_cast<double>(i), 31);
        const auto in = [&](int64_t j) { return std::binary_search(list.begin(), list.end(), j); };
        const test::ReferenceRow all(p.call, i % 2, i / 2);
        const test::ReferenceRow some(p.call, i % 2, i / 2, in);
        double error = 0.0;
        for (int64_t d = 0; d < 16; ++d) {
          error += std::pow(all.output(d).value - some.output(d).value, 2);
        }
        const RowSample sample = measure(p, i % 2, i / 2, list_of(list));
        EXPECT_LE(std::sqrt(error), 2.0 * sample.lost * largest * (1.0 + 1e-4));
      }
    }
  }
}

}  // namespace
}  // namespace shadowattn
