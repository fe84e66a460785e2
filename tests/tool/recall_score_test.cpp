// Recall and mass of a row's top-k, and figures over rows, against values worked out by hand.
#include "measure/recall_score.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace shadowattn::tool::measure {
namespace {

// Shares 0.4, 0.3, 0.2, 0.1.
RowReference four_keys() {
  const std::vector<double> logits = {std::log(4.0), std::log(3.0), std::log(2.0), std::log(1.0)};
  return RowReference(logits);
}

TEST(RecallScore, TheBestChoice) {
  const TopKQuality best = four_keys().quality(std::vector<float>{9, 8, 7, 6}, 2);
  EXPECT_DOUBLE_EQ(best.recall, 1);
  EXPECT_NEAR(best.mass, 0.7, 1e-12);
  EXPECT_NEAR(best.relative_mass, 1, 1e-12);
  EXPECT_EQ(best.tied, 0);
}

TEST(RecallScore, TheWorstChoice) {
  const TopKQuality worst = four_keys().quality(std::vector<float>{-2, -1, 5, 5}, 2);
  EXPECT_DOUBLE_EQ(worst.recall, 0);
  EXPECT_NEAR(worst.mass, 0.3, 1e-12);
  EXPECT_NEAR(worst.relative_mass, 3.0 / 7, 1e-12);
  EXPECT_EQ(worst.tied, 0) << "both of the equal ones are kept";
}

TEST(RecallScore, TiesAreAnExpectation) {
  // Key 3 is in; one of keys 0, 1, 2 comes with it, each with the same chance.
  const TopKQuality tied = four_keys().quality(std::vector<float>{1, 1, 1, 2}, 2);
  EXPECT_NEAR(tied.recall, (2.0 / 3) / 2, 1e-12);
  EXPECT_NEAR(tied.mass, 0.1 + 0.9 / 3, 1e-12);
  EXPECT_EQ(tied.tied, 1);
}

TEST(RecallScore, AllKeysAreEverything) {
  const TopKQuality all = four_keys().quality(std::vector<float>{0, 0, 0, 0}, 4);
  EXPECT_DOUBLE_EQ(all.recall, 1);
  EXPECT_NEAR(all.mass, 1, 1e-12);
  EXPECT_EQ(all.tied, 0);
  const std::vector<double> one = {-700};
  EXPECT_DOUBLE_EQ(RowReference(one).quality(std::vector<float>{0}, 1).mass, 1);
}

TEST(RecallScore, ExtremeLogits) {
  const std::vector<double> logits = {-1e4, 1e4, 0};
  const TopKQuality quality = RowReference(logits).quality(std::vector<float>{0, 1, 0}, 1);
  EXPECT_DOUBLE_EQ(quality.mass, 1);
  EXPECT_DOUBLE_EQ(RowReference(logits).quality(std::vector<float>{1, 0, 0}, 1).mass, 0);
}

// Against sorting, without ties.
TEST(RecallScore, AgreesWithSorting) {
  std::mt19937 generator(3);
  constexpr size_t kKeys = 301;
  std::vector<double> logits(kKeys);
  std::vector<float> estimate(kKeys);
  for (size_t j = 0; j < kKeys; ++j) {
    logits[j] = std::normal_distribution<double>(0, 3)(generator);
    estimate[j] = static_cast<float>(logits[j] + std::normal_distribution<double>()(generator));
  }
  const auto largest = [](const auto& values, size_t k) {
    std::vector<size_t> order(values.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return values[a] > values[b]; });
    order.resize(k);
    std::sort(order.begin(), order.end());
    return order;
  };
  double sum = 0;
  for (const double x : logits) sum += std::exp(x);
  for (const size_t k : {size_t{1}, size_t{60}, size_t{150}, kKeys}) {
    const std::vector<size_t> wanted = largest(logits, k);
    const std::vector<size_t> chosen = largest(estimate, k);
    std::vector<size_t> both;
    std::set_intersection(wanted.begin(), wanted.end(), chosen.begin(), chosen.end(),
                          std::back_inserter(both));
    double mass = 0;
    for (const size_t j : chosen) mass += std::exp(logits[j]) / sum;
    const TopKQuality quality = RowReference(logits).quality(estimate, static_cast<int64_t>(k));
    EXPECT_NEAR(quality.recall, static_cast<double>(both.size()) / static_cast<double>(k), 1e-12);
    EXPECT_NEAR(quality.mass, mass, 1e-9);
  }
}

TEST(RowFigures, MeanPercentileAndWorstHead) {
  std::vector<double> good(150, 1.0);
  std::vector<double> bad(50, 0.5);
  bad[7] = 0.1;
  bad[8] = 0.2;
  bad[9] = 0.3;
  const std::vector<std::vector<double>> values = {good, {}, bad};
  const RowFigures figures = row_figures(values);
  EXPECT_NEAR(figures.mean, (150 + 47 * 0.5 + 0.6) / 200, 1e-12);
  EXPECT_DOUBLE_EQ(figures.first_percentile, 0.3) << "two of 200 are below";
  EXPECT_NEAR(figures.worst_head, (47 * 0.5 + 0.6) / 50, 1e-12);
  EXPECT_DOUBLE_EQ(row_figures({}).mean, 0);
}

}  // namespace
}  // namespace shadowattn::tool::measure
