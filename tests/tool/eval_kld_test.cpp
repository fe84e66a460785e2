// The statistics of `shadowattn eval kld`, against the formulas written out.
#include "eval/kld_statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "eval/kld_windows.h"
#include "eval/ranks.h"

namespace shadowattn::tool::eval {
namespace {

std::vector<double> probabilities(const std::vector<float>& logits) {
  std::vector<double> p;
  for (const float logit : logits) p.push_back(std::exp(double{logit}));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

double plain_kld(const std::vector<double>& p, const std::vector<double>& q) {
  double kld = 0;
  for (size_t i = 0; i < p.size(); ++i) kld += p[i] * std::log(p[i] / q[i]);
  return kld;
}

std::vector<float> random_logits(std::mt19937& generator, size_t count) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(count);
  for (float& x : logits) x = normal(generator);
  return logits;
}

TEST(CompareLogits, IsThePlainFormula) {
  std::mt19937 generator(1);
  for (const size_t words : {2U, 3U, 50U, 1000U}) {
    const std::vector<float> a = random_logits(generator, words);
    const std::vector<float> b = random_logits(generator, words);
    const std::vector<double> p = probabilities(a);
    const std::vector<double> q = probabilities(b);
    const size_t token = words / 2;
    const TokenComparison result = compare_logits(a, b, token);
    EXPECT_NEAR(result.kld, plain_kld(p, q), 1e-5);
    EXPECT_NEAR(result.reference_nll, -std::log(p[token]), 1e-5);
    EXPECT_NEAR(result.nll, -std::log(q[token]), 1e-5);
    EXPECT_NEAR(result.delta_p, q[token] - p[token], 1e-6);
    EXPECT_EQ(result.same_top, std::max_element(p.begin(), p.end()) - p.begin() ==
                                   std::max_element(q.begin(), q.end()) - q.begin());
  }
}

TEST(CompareLogits, SeveralAtOnceAreEachByItself) {
  std::mt19937 generator(3);
  const std::vector<float> reference = random_logits(generator, 200);
  const std::vector<float> a = random_logits(generator, 200);
  const std::vector<float> b = random_logits(generator, 200);
  const std::vector<std::span<const float>> others = {a, reference, b};
  std::vector<TokenComparison> results(others.size());
  compare_logits(reference, others, 5, results);
  for (size_t i = 0; i < others.size(); ++i) {
    const TokenComparison alone = compare_logits(reference, others[i], 5);
    EXPECT_EQ(results[i].kld, alone.kld);
    EXPECT_EQ(results[i].nll, alone.nll);
    EXPECT_EQ(results[i].reference_nll, alone.reference_nll);
    EXPECT_EQ(results[i].delta_p, alone.delta_p);
    EXPECT_EQ(results[i].same_top, alone.same_top);
  }
  EXPECT_NE(results[0].kld, results[2].kld);
}

TEST(TokenNll, IsThatOfTheComparison) {
  const std::vector<float> logits = {0.5F, -2, 3, 1e3F, 7};
  for (size_t token = 0; token < logits.size(); ++token) {
    EXPECT_EQ(token_nll(logits, token), compare_logits(logits, logits, token).nll);
  }
}

TEST(Ranks, CountWhatIsLikelier) {
  EXPECT_EQ(rank_of_first({}), 0);
  EXPECT_EQ(rank_of_first(std::vector<double>{3.0}), 1);
  EXPECT_EQ(rank_of_first(std::vector<double>{3.0, 1.0, 4.0, 2.0}), 3);
  EXPECT_EQ(rank_of_first(std::vector<double>{3.0, 3.0, 2.0, 3.0}), 2);
  const std::vector<int> ranks = {1, 5, 0, 6, 2};
  EXPECT_DOUBLE_EQ(top_share(ranks, 1), 1.0 / 4);
  EXPECT_DOUBLE_EQ(top_share(ranks, 5), 3.0 / 4);
  EXPECT_EQ(top_share(std::vector<int>{0, 0}, 5), 0);
}

TEST(CompareLogits, EqualLogitsAreNoDifference) {
  std::mt19937 generator(2);
  const std::vector<float> a = random_logits(generator, 300);
  std::vector<float> shifted = a;
  for (float& x : shifted) x += 8;  // a softmax does not notice
  for (const auto& b : {a, shifted}) {
    const TokenComparison result = compare_logits(a, b, 7);
    EXPECT_NEAR(result.kld, 0, 1e-6);
    EXPECT_NEAR(result.delta_p, 0, 1e-6);
    EXPECT_TRUE(result.same_top);
  }
}

TEST(CompareLogits, HugeLogitsAndHiddenWordsStayFinite) {
  const float none = -std::numeric_limits<float>::infinity();
  const TokenComparison huge =
      compare_logits(std::vector<float>{1e6F, 0, -1e6F}, std::vector<float>{1e6F, 1e6F, 0}, 0);
  EXPECT_NEAR(huge.kld, std::log(2.0), 1e-5);
  EXPECT_NEAR(huge.delta_p, -0.5, 1e-6);
  const TokenComparison hidden =
      compare_logits(std::vector<float>{1, 1, none}, std::vector<float>{1, 1, none}, 0);
  EXPECT_NEAR(hidden.kld, 0, 1e-6);
}

TEST(Windows, LengthsDoubleUpToTheContext) {
  EXPECT_EQ(window_lengths(1024), (std::vector<int64_t>{1024}));
  EXPECT_EQ(window_lengths(2048), (std::vector<int64_t>{2048}));
  EXPECT_EQ(window_lengths(5000), (std::vector<int64_t>{2048, 4096, 5000}));
  EXPECT_EQ(window_lengths(8192), (std::vector<int64_t>{2048, 4096, 8192}));
}

TEST(Windows, LieSideBySideOverTheWholeText) {
  EXPECT_EQ(window_starts(1000, 100, 2), (std::vector<int64_t>{0, 500}));
  EXPECT_EQ(window_starts(1000, 300, 5), (std::vector<int64_t>{0, 300, 600}));
  EXPECT_TRUE(window_starts(99, 100, 2).empty());
}

TEST(Windows, TheSecondHalfOfEachLengthIsScoredWithoutAGap) {
  EXPECT_EQ(scored_rows(2048, 8192), (ScoredRows{1024, 2048}));
  EXPECT_EQ(scored_rows(8192, 8192), (ScoredRows{4096, 8191}));  // the last has no successor
  EXPECT_EQ(scored_rows(200, 200), (ScoredRows{100, 199}));
  for (const int64_t context : {128, 2047, 2048, 2049, 3000, 4097, 5000, 8192, 10000}) {
    int64_t end = std::min<int64_t>(context, 2048) / 2;
    for (const int64_t length : window_lengths(context)) {
      const ScoredRows rows = scored_rows(length, context);
      EXPECT_LE(rows.first, end) << context;
      EXPECT_GE(rows.end, end) << context;
      end = rows.end;
    }
    EXPECT_EQ(end, context - 1);
  }
}

TEST(Windows, StepsStopAtEveryLength) {
  EXPECT_EQ(step_ends(2500, 1000), (std::vector<int64_t>{1000, 2000, 2048, 2500}));
  EXPECT_EQ(step_ends(300, 512), (std::vector<int64_t>{300}));
  for (const int64_t ubatch : {100, 512, 3000}) {
    const std::vector<int64_t> ends = step_ends(5000, ubatch);
    int64_t start = 0;
    for (const int64_t end : ends) {
      EXPECT_GT(end, start);
      EXPECT_LE(end - start, ubatch);
      start = end;
    }
    EXPECT_EQ(start, 5000);
    for (const int64_t length : {2048, 4096}) {
      EXPECT_EQ(std::count(ends.begin(), ends.end(), length), 1) << ubatch;
    }
  }
}

TEST(Percentile, LiesBetweenNeighbours) {
  const std::vector<double> values = {1, 2, 4, 8};
  EXPECT_EQ(percentile(values, 0), 1);
  EXPECT_EQ(percentile(values, 1), 8);
  EXPECT_DOUBLE_EQ(percentile(values, 0.5), 3);
  EXPECT_DOUBLE_EQ(percentile(values, 0.9), 0.3 * 4 + 0.7 * 8);
  EXPECT_EQ(percentile(std::vector<double>{5}, 0.99), 5);
  EXPECT_EQ(percentile({}, 0.5), 0);
}

TEST(KldStatistics, AreMeansOverTokens) {
  const std::vector<TokenComparison> tokens = {
      {1.0, 1.5, 0.1, -0.2, true}, {2.0, 1.0, 0.3, 0.4, false}, {3.0, 3.5, 0.2, 0.1, true}};
  const KldStatistics s = kld_statistics(tokens);
  EXPECT_EQ(s.tokens, 3U);
  EXPECT_NEAR(s.reference_ppl.value, std::exp(2.0), 1e-9);
  EXPECT_NEAR(s.ppl.value, std::exp(2.0), 1e-9);
  EXPECT_NEAR(s.ppl_ratio.value, 1, 1e-9);
  // Variance of 1, 2, 3 over three: 2/3; the mean's error: sqrt(2/3 / 2).
  EXPECT_NEAR(s.reference_ppl.error, std::exp(2.0) * std::sqrt(1.0 / 3), 1e-9);
  EXPECT_NEAR(s.kld.value, 0.2, 1e-12);
  EXPECT_EQ(s.kld_quantiles.max, 0.3);
  EXPECT_EQ(s.kld_quantiles.median, 0.2);
  EXPECT_EQ(s.kld_quantiles.min, 0.1);
  EXPECT_NEAR(s.delta_p.value, 0.1, 1e-12);
  EXPECT_NEAR(s.rms_delta_p.value, std::sqrt((0.04 + 0.16 + 0.01) / 3), 1e-12);
  EXPECT_NEAR(s.same_top.value, 2.0 / 3, 1e-12);
  // cov = 1/3 · Σ(x-2)(y-2) = 1/3 · (0.5 + 1.5) = 2/3; variances 2/3 and (0.25 + 1 + 2.25)/3.
  EXPECT_NEAR(s.correlation, 2.0 / 3 / std::sqrt(2.0 / 3 * 3.5 / 3), 1e-9);
  EXPECT_EQ(kld_statistics({}).tokens, 0U);
  EXPECT_EQ(kld_statistics({}).kld.value, 0);
}

}  // namespace
}  // namespace shadowattn::tool::eval
