// States of parts of the keys, combined and finished, against the formula in double precision.
#include "attend/row_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "random_tensor.h"
#include "reference.h"

namespace shadowattn {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNanF = std::numeric_limits<float>::quiet_NaN();
constexpr int64_t kDim = 16;

/// Buffers of states as a dense call leaves them, and where their rows go: 2 heads × 3 query rows.
struct States {
  static constexpr int64_t kRows = 6;
  static constexpr int64_t kStride = kRows * (kDim + 2) + 5;  // more than is needed

  explicit States(int64_t count)
      : parts(count), buffer(static_cast<size_t>(count * kStride), kNanF) {
    output.fill(test::kNan);
    call.query.heads = 2;
    call.query.rows = 3;
    call.value.dim = kDim;
    call.output = output.output();
    for (int64_t part = 0; part < count; ++part) {
      for (int64_t i = 0; i < kRows; ++i)
        set(part, i, {-kInf, 0.0F, std::vector<float>(kDim).data()});
    }
  }

  void set(int64_t part, int64_t i, const RowState& state) {
    store_state(state, kDim, buffer.data() + part * kStride + i * state_floats(kDim));
  }

  /// A plausible state: sums of weights of which the largest is one.
  void fill(int64_t part, int64_t i, test::Random& random, double spread) {
    std::vector<float> out;
    for (int64_t d = 0; d < kDim; ++d) out.push_back(static_cast<float>(3.0 * random.normal()));
    set(part, i,
        {static_cast<float>(spread * random.normal()),
         static_cast<float>(1.0 + 5.0 * random.uniform()), out.data()});
  }

  const float* state(int64_t part, int64_t i) const {
    return buffer.data() + part * kStride + i * state_floats(kDim);
  }

  /// Of the states as they are now; `finish` overwrites them.
  std::vector<test::Bounded> expected(int64_t i) const {
    double max = -test::kInfinity;
    double min = test::kInfinity;
    for (int64_t part = 0; part < parts; ++part) {
      if (state(part, i)[0] == -kInf) continue;
      max = std::max<double>(max, state(part, i)[0]);
      min = std::min<double>(min, state(part, i)[0]);
    }
    double sink = -test::kInfinity;
    if (call.sink_logits != nullptr) sink = call.sink_logits[i % 2];
    const double top = std::max(max, sink);
    std::vector<test::Bounded> row(kDim);
    if (max == -test::kInfinity) return row;
    double sum = sink == -test::kInfinity ? 0.0 : std::exp(sink - top);
    for (int64_t part = 0; part < parts; ++part) {
      sum += std::exp(state(part, i)[0] - top) * state(part, i)[1];
    }
    // Per part: std::exp within 2·u, two products, a sum; a sink as many, and the quotient. The
    // arguments of a state's exponentials are rounded; they add up to its distance from the top.
    double range = max - min;
    if (std::isfinite(sink)) range += std::fabs(max - sink);
    const double relative =
        test::gamma(static_cast<double>(parts) * 6.0 + 8.0) + test::kUnit * range;
    for (int64_t d = 0; d < kDim; ++d) {
      double value = 0.0;
      double magnitude = 0.0;
      for (int64_t part = 0; part < parts; ++part) {
        const double term = std::exp(state(part, i)[0] - top) * state(part, i)[2 + d];
        value += term / sum;
        magnitude += std::fabs(term) / sum;
      }
      row[static_cast<size_t>(d)] = {value,
                                     1.01 * relative * (magnitude + std::fabs(value)) + 0x1p-140};
    }
    return row;
  }

  void finish() {
    const ListRows rows{{0, 3}, 0, 2};
    finish_parts(call, rows, buffer.data(), parts, kStride);
  }

  float got(int64_t i, int64_t d) const { return test::element(call.output, i % 2, i / 2, d); }

  void expect_reference() {
    std::vector<std::vector<test::Bounded>> rows;
    for (int64_t i = 0; i < kRows; ++i) rows.push_back(expected(i));
    finish();
    for (int64_t i = 0; i < kRows; ++i) {
      for (int64_t d = 0; d < kDim; ++d) {
        const test::Bounded& e = rows[static_cast<size_t>(i)][static_cast<size_t>(d)];
        ASSERT_NEAR(got(i, d), e.value, e.tolerance) << "row " << i << " dim " << d;
      }
    }
  }

  int64_t parts;
  std::vector<float> buffer;
  test::Tensor output{ElementType::kF32, 2, 3, kDim};
  AttentionCall call;
};

TEST(RowStateTest, IsStoredAsMaxSumOut) {
  std::vector<float> out(kDim);
  for (size_t d = 0; d < out.size(); ++d) out[d] = static_cast<float>(d);
  std::vector<float> buffer(static_cast<size_t>(state_floats(kDim)) + 1, 77.0F);
  store_state({3.0F, 2.0F, out.data()}, kDim, buffer.data());
  EXPECT_EQ(buffer[0], 3.0F);
  EXPECT_EQ(buffer[1], 2.0F);
  EXPECT_TRUE(std::equal(out.begin(), out.end(), buffer.begin() + 2));
  EXPECT_EQ(buffer.back(), 77.0F);
}

TEST(RowStateTest, PartsCombineAsOne) {
  test::Random random(1);
  const float sinks[] = {2.5F, -1.0F};
  const float high[] = {60.0F, -kInf};
  for (const int64_t parts : {1, 2, 3, 32}) {
    for (const double spread : {0.0, 1.0, 30.0, 1000.0}) {
      for (const float* sink : {static_cast<const float*>(nullptr), sinks, high}) {
        States states(parts);
        for (int64_t part = 0; part < parts; ++part) {
          for (int64_t i = 0; i < States::kRows; ++i) states.fill(part, i, random, spread);
        }
        states.call.sink_logits = sink;
        states.expect_reference();
      }
    }
  }
}

TEST(RowStateTest, EmptyPartsAddNothing) {
  const float sinks[] = {0.5F, -3.0F};
  for (const float* sink : {static_cast<const float*>(nullptr), sinks}) {
    for (int64_t full = -1; full < 4; ++full) {  // which of four parts a row sees; -1: none
      test::Random random(2);
      States states(4);
      States one(1);
      for (int64_t i = 0; i < States::kRows && full >= 0; ++i) {
        states.fill(full, i, random, 5.0);
        const float* s = states.state(full, i);
        one.set(0, i, {s[0], s[1], s + 2});
      }
      states.call.sink_logits = one.call.sink_logits = sink;
      states.finish();
      one.finish();
      for (int64_t i = 0; i < States::kRows; ++i) {
        for (int64_t d = 0; d < kDim; ++d) {
          ASSERT_EQ(states.got(i, d), one.got(i, d)) << "the same bits as without them";
          ASSERT_EQ(full < 0, states.got(i, d) == 0.0F);
        }
      }
    }
  }
}

TEST(RowStateTest, AlternatingEmptyParts) {
  test::Random random(3);
  States states(9);
  for (int64_t part = 0; part < 9; ++part) {
    for (int64_t i = 0; i < States::kRows; ++i) {
      if ((part + i) % 3 != 0) states.fill(part, i, random, 10.0);
    }
  }
  states.expect_reference();
}

TEST(RowStateTest, NanOfAPartIsSeen) {
  // A part whose every logit is NaN has no maximum, but a sum: it saw something.
  for (const float max : {-kInf, 2.0F, kInf, kNanF}) {
    for (int64_t spoilt = 0; spoilt < 3; ++spoilt) {
      for (const bool others : {true, false}) {
        test::Random random(4);
        States states(3);
        for (int64_t part = 0; part < 3 && others; ++part) {
          for (int64_t i = 0; i < States::kRows; ++i) states.fill(part, i, random, 1.0);
        }
        const std::vector<float> nan(kDim, kNanF);
        states.set(spoilt, 3, {max, kNanF, nan.data()});
        states.finish();
        for (int64_t i = 0; i < States::kRows; ++i) {
          EXPECT_EQ(std::isnan(states.got(i, 7)), i == 3) << max << " " << spoilt << " " << i;
        }
      }
    }
  }
}

TEST(RowStateTest, OrderOfPartsIsTheirOwn) {
  // The result is a function of the parts in order: the same bits each time.
  test::Random random(5);
  States a(7);
  for (int64_t part = 0; part < 7; ++part) {
    for (int64_t i = 0; i < States::kRows; ++i) a.fill(part, i, random, 3.0);
  }
  States b(7);
  b.buffer = a.buffer;
  a.finish();
  b.finish();
  for (int64_t i = 0; i < States::kRows; ++i) {
    for (int64_t d = 0; d < kDim; ++d) EXPECT_EQ(a.got(i, d), b.got(i, d));
  }
}

}  // namespace
}  // namespace shadowattn
