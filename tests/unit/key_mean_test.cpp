// What is subtracted from keys before they are quantised, and what that leaves of shared biases.
#include "pilot/key_mean.h"

#include <gtest/gtest.h>

#include <limits>

#include "engine_problem.h"
#include "kernel_param.h"

namespace shadowattn {
namespace {

using test::Content;
using test::Layout;
using test::Tensor;

constexpr int64_t kDim = 48;

void add_bias(Tensor& keys, double bias) {
  const TensorView view = keys.view();
  keys.for_each([&](int64_t h, int64_t r, int64_t d) {
    return test::element(view, h, r, d) + (d % 7 == 3 ? bias : 0.0);
  });
}

AttentionCall call_of(const Tensor& keys) {
  AttentionCall call;
  call.key = keys.view();
  return call;
}

class KeyMeanTest : public testing::TestWithParam<QuantizeKernel> {};

TEST_P(KeyMeanTest, IsThatOfTheReference) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  for (const int64_t keys : {1, 2, 1023, 1024, 1025, 2049, 5000}) {
    for (const ElementType type : {ElementType::kF32, ElementType::kF16}) {
      Tensor key(type, 2, keys, kDim, Layout::kGaps);
      key.fill_random(static_cast<uint64_t>(keys), Content::kPeaky);
      add_bias(key, 20);
      const int64_t begin = keys / 3;
      const std::vector<float> expected = test::reference_key_mean(key.view(), 1, begin, keys);
      ASSERT_FALSE(expected.empty());
      KeyMean chosen;
      chosen.reserve(kDim);
      chosen.reserve(kDim);
      const float* mean = chosen.choose(call_of(key), 1, begin, keys, GetParam());
      ASSERT_NE(mean, nullptr) << keys;
      EXPECT_EQ(std::vector<float>(mean, mean + kDim), expected) << keys;

      std::vector<int8_t> q(static_cast<size_t>(keys * kDim));
      std::vector<float> scale(static_cast<size_t>(keys));
      ASSERT_TRUE(quantize_centred(GetParam().of(type), key.view().row(1, 0), key.view().row_stride,
                                   keys, kDim, mean, q.data(), scale.data()));
      for (int64_t j = 0; j < keys; ++j) {
        const auto row = test::reference_quantize_centred(key.view(), 1, j, expected);
        ASSERT_EQ(scale[static_cast<size_t>(j)], row.scale) << j;
        ASSERT_EQ(std::vector<int8_t>(q.begin() + j * kDim, q.begin() + (j + 1) * kDim), row.q);
      }
    }
  }
}

TEST_P(KeyMeanTest, IsLeftOutWhereItMakesKeysLarger) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  Tensor key(ElementType::kF32, 1, 300, kDim);
  key.fill_random(1);
  key.fill_row(0, 17, 1e6);  // moves the mean by more than the other keys are large
  KeyMean chosen;
  chosen.reserve(kDim);
  EXPECT_EQ(chosen.choose(call_of(key), 0, 0, 300, GetParam()), nullptr);
  EXPECT_EQ(chosen.choose(call_of(key), 0, 20, 20, GetParam()), nullptr) << "no keys";
  key.fill(0);
  EXPECT_EQ(chosen.choose(call_of(key), 0, 0, 300, GetParam()), nullptr) << "nothing to gain";
}

TEST_P(KeyMeanTest, IsLeftOutWhereItIsNotFinite) {
  SHADOWATTN_SKIP_UNLESS_RUNS_HERE(GetParam());
  KeyMean chosen;
  chosen.reserve(kDim);
  for (const double value : {test::kNan, test::kInfinity, -test::kInfinity}) {
    Tensor key(ElementType::kF32, 1, 100, kDim);
    key.fill_random(2);
    key.set(0, 41, 5, value);
    EXPECT_EQ(chosen.choose(call_of(key), 0, 0, 100, GetParam()), nullptr) << value;
  }
  Tensor key(ElementType::kF32, 1, 100, kDim);
  key.fill(std::numeric_limits<float>::max());  // the sum overflows
  EXPECT_EQ(chosen.choose(call_of(key), 0, 0, 100, GetParam()), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Kernels, KeyMeanTest, testing::ValuesIn(quantize_kernels()),
                         test::kernel_name<QuantizeKernel>);

/// Sum of squared differences from exact attention.
double shadow_error(test::Problem& p, int32_t rows_per_list) {
  EngineOptions options;
  options.keep = 0.1;
  options.keep_floor = 16;
  options.sink = 0;
  options.recent = 0;
  options.precision = Precision::kF32;
  options.rows_per_list = rows_per_list;
  Engine shadow = test::make_engine(options);
  test::attend(shadow, p);
  const TensorView out = p.output.view();
  std::vector<float> sparse;
  p.output.for_each([&](int64_t h, int64_t r, int64_t d) {
    sparse.push_back(test::element(out, h, r, d));
    return 0.0;
  });
  options.mode = Mode::kDense;
  Engine dense = test::make_engine(options);
  test::attend(dense, p);
  double error = 0;
  size_t i = 0;
  for (int64_t h = 0; h < out.heads; ++h) {
    for (int64_t r = 0; r < out.rows; ++r) {
      for (int64_t d = 0; d < out.dim; ++d) {
        const double difference = double{test::element(out, h, r, d)} - sparse[i++];
        error += difference * difference;
      }
    }
  }
  return error;
}

// A vector added to all keys changes nothing exact; it should cost a list next to nothing.
TEST(KeyMean, ABiasOfAllKeysCostsTheListsNothing) {
  for (const int32_t rows_per_list : {1, 4}) {
    test::Shape shape;
    shape.rows = 16;
    shape.keys = 1500;
    shape.dim = kDim;
    test::Problem p(shape);
    p.query.fill_random(3, Content::kNormal, 3.0);  // logits worth choosing by
    p.set_causal(shape.keys - shape.rows);
    const double without = shadow_error(p, rows_per_list);
    add_bias(p.key, 200);
    EXPECT_GT(without, 0);
    EXPECT_LT(shadow_error(p, rows_per_list), 1.05 * without) << rows_per_list;
  }
}

}  // namespace
}  // namespace shadowattn
