// Attention in INT8 throughout, against the formulas of baselines/int8_attention.h as plain loops.
#include <gtest/gtest.h>

#include "baseline_reference.h"
#include "kernel_param.h"
#include "shadow_cases.h"

namespace shadowattn {
namespace {

using test::causal;
using test::element;
using test::make_baseline;
using test::Problem;
using test::Variant;

struct Scales {
  double query = 0.0;
  double key = 0.0;
  double value = 0.0;
  double logit = 0.0;
  float factor = 0.0F;
};

int64_t quantised(double x, double scale) {
  if (scale == 0.0) return 0;
  return std::clamp<int64_t>(std::llrint(std::clamp(x / scale, -1e6, 1e6)), -127, 127);
}

/// Σ_d q8·k8.
int64_t integer_sum(const Problem& p, const Scales& s, int64_t head, int64_t row, int64_t key) {
  const int64_t kv_head = head / (p.shape.heads / p.shape.kv_heads);
  int64_t sum = 0;
  for (int64_t d = 0; d < p.shape.dim; ++d) {
    sum += quantised(element(p.call.query, head, row, d), s.query) *
           quantised(element(p.call.key, kv_head, key, d), s.key);
  }
  return sum;
}

bool somebody_sees(const Problem& p, int64_t key) {
  for (int64_t h = 0; h < p.shape.heads; ++h) {
    for (int64_t i = 0; i < p.shape.rows; ++i) {
      if (test::reference_sees(p.call, h, i, key)) return true;
    }
  }
  return false;
}

Scales measure_scales(const Problem& p) {
  Scales s;
  for (int64_t h = 0; h < p.shape.heads; ++h) {
    for (int64_t i = 0; i < p.shape.rows; ++i) {
      bool sees = false;
      for (int64_t j = 0; j < p.shape.keys; ++j) sees |= test::reference_sees(p.call, h, i, j);
      for (int64_t d = 0; d < p.shape.dim && sees; ++d) {
        s.query = std::max<double>(s.query, std::fabs(element(p.call.query, h, i, d)));
      }
    }
  }
  for (int64_t j = 0; j < p.shape.keys; ++j) {
    if (!somebody_sees(p, j)) continue;
    for (int64_t h = 0; h < p.shape.kv_heads; ++h) {
      for (int64_t d = 0; d < p.shape.dim; ++d) {
        s.key = std::max<double>(s.key, std::fabs(element(p.call.key, h, j, d)));
      }
      for (int64_t d = 0; d < p.shape.value_dim; ++d) {
        s.value = std::max<double>(s.value, std::fabs(element(p.call.value, h, j, d)));
      }
    }
  }
  s.query /= 127.0;
  s.key /= 127.0;
  s.value /= 127.0;
  int64_t largest = 0;
  for (int64_t h = 0; h < p.shape.heads; ++h) {
    for (int64_t i = 0; i < p.shape.rows; ++i) {
      for (int64_t j = 0; j < p.shape.keys; ++j) {
        if (!test::reference_sees(p.call, h, i, j)) continue;
        largest = std::max<int64_t>(largest, std::abs(integer_sum(p, s, h, i, j)));
      }
    }
  }
  const auto sum = static_cast<double>(largest);
  s.logit = std::fabs(p.call.scale) * s.query * s.key * sum / 127.0;
  if (largest > 0) s.factor = static_cast<float>(std::copysign(127.0 / sum, p.call.scale));
  return s;
}

/// [value_dim] output of one row, in steps of value scale / 127.
std::vector<int64_t> expected_row(const Problem& p, const Scales& s, int64_t head, int64_t row) {
  const int64_t kv_head = head / (p.shape.heads / p.shape.kv_heads);
  std::vector<double> logits(static_cast<size_t>(p.shape.keys), -test::kInfinity);
  for (int64_t j = 0; j < p.shape.keys; ++j) {
    if (!test::reference_sees(p.call, head, row, j)) continue;
    const float scaled = static_cast<float>(integer_sum(p, s, head, row, j)) * s.factor;
    const double clipped = std::clamp(std::nearbyint(static_cast<double>(scaled)), -127.0, 127.0);
    double logit = clipped * s.logit;
    const double cap = p.call.logit_softcap;
    if (cap > 0.0) logit = cap * std::tanh(logit / cap);
    logits[static_cast<size_t>(j)] = logit + test::reference_bias(p.call, head, row, j);
  }
  const std::vector<double> shares = test::reference_softmax(p.call, head, logits);
  std::vector<int64_t> out(static_cast<size_t>(p.shape.value_dim), 0);
  for (int64_t j = 0; j < p.shape.keys; ++j) {
    const int64_t weight = std::llrint(shares[static_cast<size_t>(j)] * 127.0);
    for (int64_t d = 0; d < p.shape.value_dim && weight > 0; ++d) {
      out[static_cast<size_t>(d)] +=
          weight * quantised(element(p.call.value, kv_head, j, d), s.value);
    }
  }
  return out;
}

/// A weight that lies between two steps may be rounded either way, which moves the output by a
/// value at most; in nearly all rows none does.
void expect_int8(const Problem& p, const Scales& s) {
  int64_t different = 0;
  int64_t all = 0;
  const double step = s.value / 127.0;
  for (int64_t h = 0; h < p.shape.heads; ++h) {
    for (int64_t i = 0; i < p.shape.rows; ++i) {
      const std::vector<int64_t> expected = expected_row(p, s, h, i);
      for (int64_t d = 0; d < p.shape.value_dim; ++d) {
        const double value = static_cast<double>(expected[static_cast<size_t>(d)]) * step;
        const double got = element(p.call.output, h, i, d);
        ASSERT_NEAR(got, value, 130.0 * step + 1e-30) << "head " << h << " row " << i;
        different += std::fabs(got - value) > 1e-5 * std::fabs(value) + 1e-3 * step ? 1 : 0;
        ++all;
      }
    }
  }
  EXPECT_LE(different * 20, all);
}

using Param = test::KernelParam<Variant, test::ShadowCase>;

class BaselineInt8Test : public testing::TestWithParam<Param> {};

TEST_P(BaselineInt8Test, FollowsTheFormulas) {
  Problem p(GetParam().data.shape);
  GetParam().data.prepare(p);
  EngineOptions options = GetParam().kernel.with({.mode = Mode::kNpuInt8, .sample_every = 0});
  options.threads = 2;
  Engine engine = make_baseline(options);
  const CallReport report = test::attend(engine, p);
  expect_int8(p, measure_scales(p));
  EXPECT_EQ(report.kept_pairs, test::visible_pairs(p));
  EXPECT_EQ(report.visible_pairs, report.kept_pairs);
  EXPECT_EQ(report.nonfinite_rows, 0);
  EXPECT_EQ(report.dense_reason, DenseReason::kNone);
}

std::vector<Param> params() {
  std::vector<test::ShadowCase> cases = test::shadow_cases();
  cases.push_back({"softcap", {4, 2, 13, 200, 32, 48, ElementType::kF16}, [](Problem& p) {
                     causal(p);
                     p.call.logit_softcap = 2.0F;
                   }});
  cases.push_back({"sink_logits", {4, 2, 13, 200, 32, 48, ElementType::kF32}, [](Problem& p) {
                     causal(p);
                     p.set_sinks({3.0F, -1.0F, 9.0F, -std::numeric_limits<float>::infinity()});
                   }});
  return test::cross(test::variants_here(), cases);
}

INSTANTIATE_TEST_SUITE_P(Masks, BaselineInt8Test, testing::ValuesIn(params()),
                         test::param_label<Param>);

Problem small(uint64_t seed, double scale = 1.0) {
  Problem p({4, 2, 7, 120, 32, 48, ElementType::kF16});
  p.shape.seed = seed;
  p.query.fill_random(seed, test::Content::kNormal, scale);
  p.key.fill_random(seed + 1, test::Content::kNormal, scale);
  p.value.fill_random(seed + 2, test::Content::kNormal, scale);
  causal(p);
  return p;
}

TEST(BaselineInt8, ALayerKeepsTheScalesOfItsFirstCall) {
  Engine engine = make_baseline({.mode = Mode::kNpuInt8, .sample_every = 0});
  Problem first = small(1);
  Problem other = small(5, 0.3);
  Problem later = small(9, 2.0);  // beyond the scales: clipped
  first.call.layer = 3;
  other.call.layer = 4;
  later.call.layer = 3;
  test::attend(engine, first);
  test::attend(engine, other);
  test::attend(engine, later);
  expect_int8(first, measure_scales(first));
  expect_int8(other, measure_scales(other));
  expect_int8(later, measure_scales(first));
}

TEST(BaselineInt8, CallsOfNoLayerAreTakenByThemselves) {
  Engine engine = make_baseline({.mode = Mode::kNpuInt8, .sample_every = 0});
  for (const double scale : {1.0, 0.1, 5.0}) {
    Problem p = small(11, scale);
    test::attend(engine, p);
    expect_int8(p, measure_scales(p));
  }
}

TEST(BaselineInt8, WhatNobodySeesDoesNotSetTheScales) {
  Problem p = small(21);
  const auto hole = [](int64_t j) { return j % 10 == 3; };
  p.set_mask([&](int64_t, int64_t i, int64_t j) {
    return hole(j) || j > 113 + i ? -test::kInfinity : 0.0;
  });
  const Scales expected = measure_scales(p);
  for (const double junk : {60000.0, test::kNan, test::kInfinity}) {
    for (int64_t j = 0; j < 120; ++j) {
      if (!hole(j)) continue;
      p.key.fill_row(0, j, junk);
      p.value.fill_row(1, j, junk);
    }
    Engine engine = make_baseline({.mode = Mode::kNpuInt8});
    const CallReport report = test::attend(engine, p);
    EXPECT_EQ(report.nonfinite_rows, 0);
    expect_int8(p, expected);
  }
}

TEST(BaselineInt8, RowsThatSeeANanAreDense) {
  for (const double bad : {test::kNan, test::kInfinity}) {
    Problem p = small(31);
    p.value.set(1, 116, 7, test::kNan);  // seen by the last four rows of heads 2 and 3
    p.query.set(0, 1, 3, bad);
    Engine engine = make_baseline({.mode = Mode::kNpuInt8});
    const CallReport report = test::attend(engine, p);
    EXPECT_EQ(report.nonfinite_rows, 4 + 1);
    EXPECT_EQ(report.kept_pairs, test::visible_pairs(p));
    for (int64_t i = 3; i < 7; ++i) test::expect_reference_row(p, 2, i, {});
    for (int64_t h = 0; h < 2; ++h) test::expect_reference_row(p, h, 1, {});
  }
}

TEST(BaselineInt8, SmallWeightsAreLost) {
  // 200 equal keys: each has a weight of 1/200, below half a step.
  Problem p({1, 1, 1, 400, 32, 32});
  p.key.fill(0.5);
  Engine engine = make_baseline({.mode = Mode::kNpuInt8, .sample_every = 1});
  const CallReport report = test::attend(engine, p);
  for (int64_t d = 0; d < 32; ++d) EXPECT_EQ(element(p.call.output, 0, 0, d), 0.0F);
  ASSERT_EQ(report.samples.size(), 1U);
  EXPECT_EQ(report.samples[0].kept, 0);
  EXPECT_NEAR(report.samples[0].lost, 1.0, 1e-9);
}

}  // namespace
}  // namespace shadowattn
