// Changes to operands that must leave softmax as it was, and the estimates made of them.
#include "head_operands.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/quantize/quantize.h"
#include "score_variant.h"

namespace shadowattn::bench {
namespace {

std::vector<float> random_rows(int64_t rows, int64_t dim, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  std::vector<float> values(static_cast<size_t>(rows * dim));
  for (float& x : values) x = normal(generator);
  return values;
}

HeadOperands random_operands(int64_t dim, int64_t keys, int64_t heads, int64_t rows) {
  HeadOperands operands;
  operands.dim = dim;
  operands.keys = keys;
  operands.heads = heads;
  operands.rows = rows;
  operands.key = random_rows(keys, dim, 1);
  operands.query = random_rows(heads * rows, dim, 2);
  for (int64_t r = 0; r < rows; ++r) operands.seen.push_back({0, keys - rows + 1 + r});
  operands.scale = 1 / std::sqrt(static_cast<double>(dim));
  return operands;
}

/// Logits of a query row, in double.
std::vector<double> logits(const HeadOperands& operands, int64_t head, int64_t row) {
  const std::span<const float> query = operands.query_row(head, row);
  std::vector<double> values;
  for (int64_t j = 0; j < operands.keys; ++j) {
    double sum = 0;
    for (size_t d = 0; d < query.size(); ++d) {
      sum += double{query[d]} * operands.key[static_cast<size_t>(j * operands.dim) + d];
    }
    values.push_back(operands.scale * sum);
  }
  return values;
}

/// The largest difference of two rows' logits once each row's own mean is taken off: what is left
/// of it changes a softmax.
double softmax_change(std::vector<double> a, std::vector<double> b) {
  for (auto* values : {&a, &b}) {
    double mean = 0;
    for (const double x : *values) mean += x;
    mean /= static_cast<double>(values->size());
    for (double& x : *values) x -= mean;
  }
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

TEST(HeadOperands, RotationIsOrthogonal) {
  for (const int64_t dim : {16, 64, 80, 96, 128}) {
    std::vector<float> unit(static_cast<size_t>(dim * dim), 0.0F);
    for (int64_t d = 0; d < dim; ++d) unit[static_cast<size_t>(d * dim + d)] = 1;
    rotate(dim, unit);
    for (int64_t a = 0; a < dim; ++a) {
      for (int64_t b = 0; b < dim; ++b) {
        double product = 0;
        for (int64_t d = 0; d < dim; ++d) {
          product += double{unit[static_cast<size_t>(a * dim + d)]} *
                     unit[static_cast<size_t>(b * dim + d)];
        }
        ASSERT_NEAR(product, a == b ? 1 : 0, 1e-6) << dim << ": " << a << ", " << b;
      }
    }
    std::vector<float> large(static_cast<size_t>(dim), 0.0F);
    large[3] = 100;
    rotate(dim, large);
    for (const float x : large) EXPECT_LE(std::fabs(x), 100 / std::sqrt(16.0) + 1e-3) << dim;
  }
}

TEST(HeadOperands, BothSidesAreRotatedOrNothingIsRight) {
  const HeadOperands before = random_operands(64, 50, 2, 3);
  HeadOperands after = before;
  rotate(after.dim, after.key);
  EXPECT_GT(softmax_change(logits(before, 1, 2), logits(after, 1, 2)), 0.1) << "keys alone";
  rotate(after.dim, after.query);
  EXPECT_LT(softmax_change(logits(before, 1, 2), logits(after, 1, 2)), 1e-5);
}

TEST(HeadOperands, EqualisingChangesNoLogit) {
  HeadOperands before = random_operands(48, 40, 1, 5);
  apply_case(OperandCase::kLargeChannels, &before);
  for (size_t i = 7; i < before.query.size(); i += 48) before.query[i] = 0;
  HeadOperands after = before;
  equalise(after.dim, after.query, after.key);
  EXPECT_LT(softmax_change(logits(before, 0, 4), logits(after, 0, 4)), 1e-5);
  for (size_t d = 0; d < 48; ++d) {
    float query = 0;
    float key = 0;
    for (size_t i = d; i < after.query.size(); i += 48) {
      query = std::max(query, std::fabs(after.query[i]));
    }
    for (size_t i = d; i < after.key.size(); i += 48) key = std::max(key, std::fabs(after.key[i]));
    if (d == 7) {
      EXPECT_EQ(query, 0.0F);
    } else {
      EXPECT_NEAR(query, key, 1e-5 * key) << d;
    }
  }
}

TEST(HeadOperands, SubtractingTheMeanChangesNoSoftmax) {
  HeadOperands before = random_operands(32, 70, 1, 4);
  apply_case(OperandCase::kKeyBias, &before);
  HeadOperands after = before;
  subtract_mean(after.dim, after.key);
  for (size_t d = 0; d < 32; ++d) {
    double sum = 0;
    for (size_t i = d; i < after.key.size(); i += 32) sum += after.key[i];
    EXPECT_NEAR(sum, 0, 1e-3) << d;
  }
  EXPECT_LT(softmax_change(logits(before, 0, 3), logits(after, 0, 3)), 1e-4);
}

TEST(HeadOperands, OutliersChangeNoSoftmaxAndAreLarge) {
  const HeadOperands before = random_operands(64, 60, 2, 4);
  for (const OperandCase which :
       {OperandCase::kLargeChannels, OperandCase::kKeyBias, OperandCase::kBoth}) {
    HeadOperands after = before;
    apply_case(which, &after);
    float largest = 0;
    for (const float x : after.key) largest = std::max(largest, std::fabs(x));
    EXPECT_GT(largest, 25.0F);
    EXPECT_LT(softmax_change(logits(before, 1, 1), logits(after, 1, 1)), 1e-4);
  }
  HeadOperands same = before;
  apply_case(OperandCase::kRecorded, &same);
  EXPECT_EQ(same.key, before.key);
  EXPECT_EQ(same.query, before.query);
}

TEST(ScoreVariant, RowsAreQuantisedAsByTheEngine) {
  constexpr int64_t kDim = 64;
  constexpr int64_t kRows = 37;
  std::vector<float> values = random_rows(kRows, kDim, 5);
  std::fill_n(values.begin() + 3 * kDim, kDim, 0.0F);
  std::vector<int8_t> q(values.size());
  std::vector<float> scale(kRows);
  ASSERT_TRUE(quantize_kernels().back().f32.rows(values.data(), kDim * sizeof(float), kRows, kDim,
                                                 q.data(), scale.data()));
  const QuantisedRows rows = quantise_rows(values, kDim, ScaleScope::kRow);
  EXPECT_EQ(rows.scale, scale);
  for (size_t i = 0; i < q.size(); ++i) EXPECT_EQ(rows.q[i], q[i]) << i;
}

TEST(ScoreVariant, ScalesAreThoseOfWhatSharesThem) {
  constexpr int64_t kDim = 16;
  constexpr int64_t kRows = 2 * kScaleBlock + 5;
  std::vector<float> values(static_cast<size_t>(kRows * kDim), 1.0F);
  values[static_cast<size_t>((kScaleBlock + 3) * kDim + 2)] = -254.0F;  // in the second block
  const auto at = [](const QuantisedRows& rows, int64_t row) {
    return rows.scale[static_cast<size_t>(row)];
  };
  const QuantisedRows tensor = quantise_rows(values, kDim, ScaleScope::kTensor);
  EXPECT_FLOAT_EQ(at(tensor, 0), 2);
  EXPECT_FLOAT_EQ(at(tensor, kRows - 1), 2);
  const QuantisedRows block = quantise_rows(values, kDim, ScaleScope::kBlock);
  EXPECT_FLOAT_EQ(at(block, kScaleBlock - 1), 1.0F / 127);
  EXPECT_FLOAT_EQ(at(block, kScaleBlock), 2);
  EXPECT_FLOAT_EQ(at(block, 2 * kScaleBlock - 1), 2);
  EXPECT_FLOAT_EQ(at(block, kRows - 1), 1.0F / 127);
  const QuantisedRows row = quantise_rows(values, kDim, ScaleScope::kRow);
  EXPECT_FLOAT_EQ(at(row, kScaleBlock + 2), 1.0F / 127);
  EXPECT_FLOAT_EQ(at(row, kScaleBlock + 3), 2);
}

// Every variant estimates logits but for a constant of the row, closely where nothing is rough.
TEST(ScoreVariant, EstimatesAreLogits) {
  const HeadOperands operands = random_operands(64, 200, 2, 6);
  const std::vector<double> exact = logits(operands, 1, 4);
  const auto error = [&](ScoreVariant variant) {
    std::vector<float> estimate(200);
    VariantScores(operands, variant).estimate(1, 4, estimate);
    return softmax_change(exact, {estimate.begin(), estimate.end()});
  };
  EXPECT_LT(error({}), 1e-5);
  for (const ScoreFormat format : {ScoreFormat::kInt32, ScoreFormat::kInt16, ScoreFormat::kInt8}) {
    for (const ScaleScope key : {ScaleScope::kTensor, ScaleScope::kBlock, ScaleScope::kRow}) {
      for (const ScaleScope query : {ScaleScope::kTensor, ScaleScope::kRow}) {
        for (const int change : {0, 1, 2, 3, 4, 5, 6, 7}) {
          const ScoreVariant variant = {
              format, key, query, (change & 1) != 0, (change & 2) != 0, (change & 4) != 0};
          EXPECT_LT(error(variant), format == ScoreFormat::kInt8 ? 0.15 : 0.08) << variant.name();
          EXPECT_GT(error(variant), 0) << variant.name();
        }
      }
    }
  }
}

TEST(ScoreVariant, CentredAndRotatedEstimatesSurviveOutliers) {
  HeadOperands operands = random_operands(64, 300, 1, 2);
  const std::vector<double> exact = logits(operands, 0, 1);
  apply_case(OperandCase::kBoth, &operands);
  const auto error = [&](ScoreVariant variant) {
    variant.format = ScoreFormat::kInt32;
    std::vector<float> estimate(300);
    VariantScores(operands, variant).estimate(0, 1, estimate);
    return softmax_change(exact, {estimate.begin(), estimate.end()});
  };
  ScoreVariant centred;
  centred.center_keys = true;
  ScoreVariant equalised = centred;
  equalised.equalise = true;
  ScoreVariant rotated = centred;
  rotated.rotate = true;
  EXPECT_GT(error({}), 2 * error(centred));
  EXPECT_GT(error(centred), 2 * error(rotated));
  EXPECT_GT(error(centred), 4 * error(equalised));
}

}  // namespace
}  // namespace shadowattn::bench
