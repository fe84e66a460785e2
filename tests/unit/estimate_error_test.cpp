// The error of INT8 logits, and what follows for the mass of dropped keys.
#include "pilot/estimate_error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace shadowattn {
namespace {

std::vector<double> normal(std::mt19937& random, int64_t n) {
  std::normal_distribution<double> distribution;
  std::vector<double> x(static_cast<size_t>(n));
  for (double& value : x) value = distribution(random);
  return x;
}

struct Rounded {
  std::vector<int8_t> q;
  float step = 0.0F;
};

Rounded round_row(const std::vector<double>& x) {
  double largest = 0.0;
  for (const double value : x) largest = std::max(largest, std::fabs(value));
  Rounded r;
  r.step = static_cast<float>(largest / 127.0);
  for (const double value : x) {
    r.q.push_back(static_cast<int8_t>(std::lrint(value / static_cast<double>(r.step))));
  }
  return r;
}

double norm2(const std::vector<double>& x) {
  double sum = 0.0;
  for (const double value : x) sum += value * value;
  return sum;
}

TEST(EstimateErrorTest, VarianceIsThatOfRoundedRows) {
  constexpr int kPairs = 4000;
  for (const int64_t dim : {16, 64, 256}) {
    std::mt19937 random(static_cast<uint32_t>(dim));
    const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
    double measured = 0.0;
    double predicted = 0.0;
    for (int i = 0; i < kPairs; ++i) {
      const std::vector<double> q = normal(random, dim);
      const std::vector<double> k = normal(random, dim);
      const Rounded q8 = round_row(q);
      const Rounded k8 = round_row(k);
      double error = 0.0;
      for (size_t d = 0; d < q.size(); ++d) {
        error += q[d] * k[d] - static_cast<double>(q8.step) * k8.step * q8.q[d] * k8.q[d];
      }
      measured += scale * scale * error * error / kPairs;
      predicted += logit_error_variance({scale, norm2(q), q8.step, norm2(k), k8.step}) / kPairs;
    }
    // The mean of n squares of nearly normal numbers is off by √(2/n) of itself; six of these.
    EXPECT_NEAR(measured / predicted, 1.0, 6.0 * std::sqrt(2.0 / kPairs)) << dim;
  }
}

TEST(EstimateErrorTest, LargestNorm) {
  const std::vector<int8_t> x = {3, -4, 0, 0, 127, -127, 127, 1};
  const std::vector<float> scale = {0.5F, 0.001F};
  EXPECT_DOUBLE_EQ(largest_norm2_of(x.data(), scale.data(), 2, 4), 25 * 0.25);
  EXPECT_EQ(largest_norm2_of(x.data(), scale.data(), 0, 4), 0.0);
  const std::vector<int8_t> longest(256, -127);
  const float one = 1.0F;
  EXPECT_EQ(largest_norm2_of(longest.data(), &one, 1, 256), 256.0 * 127 * 127);
}

TEST(EstimateErrorTest, TheBudgetShrinksWithTheError) {
  EXPECT_LT(estimated_budget(0.01, 0.0), 0.01);
  EXPECT_GT(estimated_budget(0.01, 0.0), 0.0093);
  double before = 1.0;
  for (const double variance : {0.0, 0.001, 0.1, 0.5, 1.0}) {
    const double budget = estimated_budget(0.01, variance);
    EXPECT_LT(budget, before);
    EXPECT_GT(budget, 0.0);
    before = budget;
  }
  for (const double hopeless : {1.1, 1e9, std::numeric_limits<double>::infinity(),
                                std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(estimated_budget(0.01, hopeless), 0.0);
  }
}

// The inequality itself: logits with normal errors, keys dropped by the noisy ones.
TEST(EstimateErrorTest, ExpectedLossStaysWithinTheBudget) {
  constexpr int kTrials = 300;
  constexpr int64_t kKeys = 400;
  for (const double sigma : {0.05, 0.3, 0.7}) {
    std::mt19937 random(7);
    const double budget = estimated_budget(0.05, sigma * sigma);
    ASSERT_GT(budget, 0.0);
    double lost = 0.0;
    for (int t = 0; t < kTrials; ++t) {
      const std::vector<double> logit = normal(random, kKeys);
      const std::vector<double> noise = normal(random, kKeys);
      std::vector<std::pair<double, double>> keys;  // estimated and true weight
      double all = 0.0;
      double all_true = 0.0;
      for (size_t j = 0; j < logit.size(); ++j) {
        keys.emplace_back(std::exp(2 * logit[j] + sigma * noise[j]), std::exp(2 * logit[j]));
        all += keys.back().first;
        all_true += keys.back().second;
      }
      std::sort(keys.begin(), keys.end());
      double dropped = 0.0;
      double dropped_true = 0.0;
      for (const auto& [estimated, exact] : keys) {
        if (dropped + estimated > budget * all) break;
        dropped += estimated;
        dropped_true += exact;
      }
      lost += dropped_true / all_true / kTrials;
    }
    EXPECT_LE(lost, 0.05) << sigma;
    EXPECT_GT(lost, 0.0);
  }
}

}  // namespace
}  // namespace shadowattn
