// Inputs at the edges: nothing to do, NaN and infinity where they may and may not be seen.
#include <gtest/gtest.h>

#include "engine_problem.h"
#include "kernel_param.h"

namespace shadowattn {
namespace {

using test::attend;
using test::make_engine;
using test::Problem;
using test::Variant;

constexpr ElementType kF16 = ElementType::kF16;

class EngineInputTest : public testing::TestWithParam<Variant> {
 protected:
  Engine dense() { return make_engine(GetParam().with({.mode = Mode::kDense})); }
  Engine shadow(int32_t rows = 8) {
    return make_engine(GetParam().with({.keep = 0.2,
                                        .keep_floor = 0,
                                        .sink = 2,
                                        .recent = 4,
                                        .rows_per_list = rows,
                                        .share_heads = rows > 1}));
  }
  std::vector<Engine> engines() {
    std::vector<Engine> all;
    all.push_back(dense());
    all.push_back(shadow());
    all.push_back(shadow(1));
    return all;
  }
};

void causal(Problem& p) { p.set_causal(p.shape.keys - p.shape.rows); }

bool all_finite(const Problem& p, int64_t head, int64_t row) {
  for (int64_t d = 0; d < p.shape.value_dim; ++d) {
    if (!std::isfinite(test::element(p.call.output, head, row, d))) return false;
  }
  return true;
}

TEST_P(EngineInputTest, NoRows) {
  for (Engine& engine : engines()) {
    for (const MaskKind kind : {MaskKind::kNone, MaskKind::kCausal, MaskKind::kAdditive}) {
      Problem p({2, 1, 0, 40, 32, 32});
      p.set_mask([](int64_t, int64_t, int64_t) { return 0.0; });
      p.call.mask.kind = kind;
      p.call.query.data = nullptr;  // no rows, no data
      p.call.output.data = nullptr;
      const CallReport report = attend(engine, p);
      EXPECT_EQ(report.visible_pairs, 0);
      EXPECT_EQ(report.kept_pairs, 0);
    }
  }
}

TEST_P(EngineInputTest, NoKeysGivesZeros) {
  for (Engine& engine : engines()) {
    for (const MaskKind kind : {MaskKind::kNone, MaskKind::kCausal, MaskKind::kAdditive}) {
      for (const bool sinks : {false, true}) {
        Problem p({2, 1, 9, 0, 32, 32});
        p.set_mask([](int64_t, int64_t, int64_t) { return 0.0; });
        p.call.mask.kind = kind;
        p.call.mask.additive.data = nullptr;
        p.call.key.data = nullptr;
        p.call.value.data = nullptr;
        if (sinks) p.set_sinks({1.0F, -std::numeric_limits<float>::infinity()});
        const CallReport report = attend(engine, p);
        test::expect_reference(p, {});
        EXPECT_EQ(report.kept_pairs, 0);
      }
    }
  }
}

TEST_P(EngineInputTest, ReportMayBeNull) {
  Problem p({2, 1, 3, 40, 32, 32});
  Engine engine = shadow();
  p.output.fill(test::kNan);
  ASSERT_TRUE(engine.attend(p.call).ok());
  EXPECT_TRUE(all_finite(p, 1, 2));
}

TEST_P(EngineInputTest, NanInHiddenKeysAndValuesReachesNobody) {
  // In a hole of the cache that no row sees, before the first and after the last visible key, and
  // in keys that only some rows see.
  for (const int64_t rows : {1, 2, 9}) {
    for (const ElementType type : {ElementType::kF32, kF16}) {
      for (const double junk : {test::kNan, test::kInfinity, -test::kInfinity}) {
        Problem p({4, 2, rows, 200, 32, 48, type});
        p.set_mask([](int64_t, int64_t i, int64_t j) {
          const bool hidden = j < 10 || (j >= 60 && j < 70) || j > 150 + i;
          return hidden ? -test::kInfinity : 0.0;
        });
        for (int64_t kv = 0; kv < 2; ++kv) {
          for (const int64_t j : {0, 9, 60, 64, 69, 170, 199}) {
            p.key.fill_row(kv, j, junk);
            p.value.fill_row(kv, j, junk);
          }
        }
        for (Engine& engine : engines()) {
          attend(engine, p);
          for (int64_t i = 0; i < rows; ++i)
            EXPECT_TRUE(all_finite(p, 0, i) && all_finite(p, 3, i));
        }
        Engine exact = dense();
        attend(exact, p);
        test::expect_reference(p, GetParam().of_dense(p.call));
      }
    }
  }
}

TEST_P(EngineInputTest, JunkBeyondTheVisibleKeysDoesNotForceDense) {
  Problem p({4, 2, 9, 200, 32, 48, kF16});
  p.set_causal(100);
  Engine engine = shadow();
  attend(engine, p);
  const std::vector<uint32_t> expected = test::bits(p);
  for (int64_t j = 109; j < 200; ++j) {
    for (int64_t kv = 0; kv < 2; ++kv) {
      p.key.fill_row(kv, j, test::kNan);
      p.value.fill_row(kv, j, test::kNan);
    }
  }
  const CallReport report = attend(engine, p);
  EXPECT_EQ(test::bits(p), expected);
  EXPECT_EQ(report.dense_reason, DenseReason::kNone);
}

TEST_P(EngineInputTest, NanInAVisibleKeyMakesItsHeadDense) {
  for (const double bad : {test::kNan, test::kInfinity}) {
    for (const int32_t rows_per_list : {1, 8}) {
      Problem p({4, 2, 9, 200, 32, 48, kF16});
      causal(p);
      Engine engine = shadow(rows_per_list);
      const CallReport clean_report = attend(engine, p);
      const std::vector<uint32_t> clean = test::bits(p);
      p.key.set(1, 195, 5, bad);  // rows 4 … 8 of heads 2 and 3 see it
      const CallReport report = attend(engine, p);
      EXPECT_EQ(report.dense_reason, DenseReason::kNone);
      EXPECT_EQ(report.nonfinite_rows, 9);  // of one KV head
      EXPECT_EQ(report.lists, clean_report.lists / 2);
      const std::vector<uint32_t> dirty = test::bits(p);
      const auto half = static_cast<std::ptrdiff_t>(clean.size() / 2);
      EXPECT_TRUE(std::equal(clean.begin(), clean.begin() + half, dirty.begin()))
          << "the other KV head is as it was";
      // Half the pairs are those of the other head's lists, half all that there are.
      EXPECT_EQ(report.kept_pairs, (clean_report.kept_pairs + report.visible_pairs) / 2);
      // Its tiles hold an operand that 16 bits cannot: f32.
      for (int64_t h = 2; h < 4; ++h) {
        for (int64_t i = 0; i < 9; ++i) test::expect_reference_row(p, h, i, {});
        EXPECT_TRUE(all_finite(p, h, 3));
        EXPECT_TRUE(!std::isnan(bad) || !all_finite(p, h, 4));
      }
    }
  }
}

TEST_P(EngineInputTest, NanInTheKeysOfEveryHeadMakesTheCallDenseAndSaysSo) {
  for (const double bad : {test::kNan, -test::kInfinity}) {
    for (const int32_t rows_per_list : {1, 8}) {
      Problem p({4, 2, 9, 200, 32, 48, kF16});
      causal(p);
      p.key.set(0, 77, 5, bad);
      p.key.set(1, 195, 31, bad);
      Engine engine = shadow(rows_per_list);
      const CallReport report = attend(engine, p);
      EXPECT_EQ(report.dense_reason, DenseReason::kNonFinite);
      EXPECT_EQ(report.nonfinite_rows, 18);
      EXPECT_EQ(report.kept_pairs, report.visible_pairs);
      EXPECT_EQ(report.lists, 0);
      test::expect_reference(p, {});
      EXPECT_TRUE(all_finite(p, 2, 0) && all_finite(p, 3, 3));
      EXPECT_TRUE(!std::isnan(bad) || !(all_finite(p, 0, 0) || all_finite(p, 3, 4)));
    }
  }
}

/// How many elements of the heads [first, last) are further from the truth than f32 may be.
int64_t beyond_f32(const Problem& p, int64_t first, int64_t last) {
  int64_t count = 0;
  for (int64_t h = first; h < last; ++h) {
    for (int64_t i = 0; i < p.shape.rows; ++i) {
      const test::ReferenceRow reference(p.call, h, i);
      for (int64_t d = 0; d < p.shape.value_dim; ++d) {
        const test::Bounded expected = reference.output(d);
        const double got = test::element(p.call.output, h, i, d);
        count += std::fabs(got - expected.value) <= expected.tolerance ? 0 : 1;
      }
    }
  }
  return count;
}

TEST_P(EngineInputTest, WhatSixteenBitsCannotHoldIsComputedInF32) {
  struct Spoil {
    std::string label;
    void (*spoil)(Problem& p);
  };
  // Each leaves all outputs of KV head 0 finite. A tile falls back as a whole: 9 rows are one.
  const Spoil spoils[] = {
      {"huge query",
       [](Problem& p) {
         p.query.set(1, 4, 7, 0x1p100);
         for (int64_t j = 0; j < 200; ++j) p.key.set(0, j, 7, 0.0);
       }},
      {"huge key",
       [](Problem& p) {
         p.key.set(0, 150, 7, -0x1p120);
         for (int64_t i = 0; i < 9; ++i) {
           p.query.set(0, i, 7, 0.0);
           p.query.set(1, i, 7, 0.0);
         }
       }},
      {"value that BF16 rounds to infinity",
       [](Problem& p) { p.value.set(0, 60, 11, std::numeric_limits<float>::max()); }},
      {"nan in a hidden key", [](Problem& p) { p.key.set(0, 100, 3, test::kNan); }},
      {"inf in a hidden value", [](Problem& p) { p.value.set(0, 100, 3, test::kInfinity); }},
      {"huge bias",
       [](Problem& p) {
         p.set_mask(
             [](int64_t, int64_t, int64_t j) {
               return j == 199 ? -test::kInfinity : j == 3 ? -3e38 : 0.0;
             },
             1, ElementType::kF32);
       }},
  };
  for (const Spoil& s : spoils) {
    Problem p({4, 2, 9, 200, 32, 48});
    p.set_mask([](int64_t, int64_t i, int64_t j) {
      return j == 100 || j > 190 + i ? -test::kInfinity : 0.0;
    });
    Engine engine = dense();
    attend(engine, p);
    // The machine's 16 bits do show, or this test shows nothing.
    EXPECT_EQ(beyond_f32(p, 0, 2) > 0, GetParam().fast) << s.label;
    s.spoil(p);
    const CallReport report = attend(engine, p);
    EXPECT_EQ(beyond_f32(p, 0, 2), 0) << s.label;
    EXPECT_EQ(report.kept_pairs, test::visible_pairs(p)) << s.label;
  }
}

TEST_P(EngineInputTest, AListMadeDenseAgainIsCountedOnce) {
  // Heads with lists of their own: the second head's NaN makes the first one's list in vain.
  Problem p({2, 1, 8, 300, 32, 32, kF16});
  causal(p);
  p.query.set(1, 3, 0, test::kNan);
  Engine engine =
      make_engine(GetParam().with({.keep = 0.2, .keep_floor = 0, .share_heads = false}));
  const CallReport report = attend(engine, p);
  EXPECT_EQ(report.nonfinite_rows, 8);
  EXPECT_EQ(report.kept_pairs, test::visible_pairs(p));
}

TEST_P(EngineInputTest, NanInAQueryStaysInItsRow) {
  for (const double bad : {test::kNan, -test::kInfinity}) {
    for (const int32_t rows_per_list : {1, 8}) {
      Problem p({4, 2, 90, 300, 32, 48, kF16});
      causal(p);
      p.query.set(2, 40, 31, bad);
      Engine engine = shadow(rows_per_list);
      const CallReport report = attend(engine, p);
      EXPECT_EQ(report.dense_reason, DenseReason::kNone);
      EXPECT_GT(report.nonfinite_rows, 0);
      EXPECT_LT(report.nonfinite_rows, 90);
      EXPECT_GT(report.lists, 0);
      for (int64_t h = 0; h < 4; ++h) {
        for (int64_t i = 0; i < 90; ++i) {
          EXPECT_EQ(all_finite(p, h, i), h != 2 || i != 40) << h << " " << i;
        }
      }
    }
  }
}

TEST_P(EngineInputTest, NanAndInfinityInVisibleValues) {
  for (const int64_t rows : {1, 9}) {  // both paths of attend
    for (const double bad : {test::kNan, test::kInfinity, -test::kInfinity}) {
      Problem p({4, 2, rows, 200, 32, 48});
      p.set_causal(199 - rows);
      p.value.set(0, 198 - rows, 3, bad);  // everybody sees it
      p.value.set(1, 198, 47, bad);        // the last row alone sees it
      Engine exact = dense();
      attend(exact, p);
      for (int64_t h = 0; h < 4; ++h) {
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t d = 0; d < 48; ++d) {
            const bool touched = h < 2 ? d == 3 : d == 47 && i == rows - 1;
            EXPECT_EQ(!std::isfinite(test::element(p.call.output, h, i, d)), touched)
                << h << " " << i << " " << d;
          }
        }
      }
      Engine sparse = shadow();
      const CallReport report = attend(sparse, p);  // values play no part in the estimate
      EXPECT_EQ(report.dense_reason, DenseReason::kNone);
    }
  }
}

TEST_P(EngineInputTest, NanInMaskSinkOrSlopeIsVisible) {
  // A hostile mask must show in the rows it concerns, and only there.
  for (const bool sparse : {false, true}) {
    Problem p({4, 2, 9, 200, 32, 48});
    p.set_mask([](int64_t, int64_t i, int64_t j) { return i == 4 && j == 7 ? test::kNan : 0.0; });
    Engine engine = sparse ? shadow() : dense();
    attend(engine, p);
    for (int64_t i = 0; i < 9; ++i) EXPECT_EQ(all_finite(p, 1, i), i != 4) << i;

    Problem sinks({4, 2, 9, 200, 32, 48});
    sinks.set_sinks({0.0F, std::numeric_limits<float>::quiet_NaN(), 0.0F, 0.0F});
    attend(engine, sinks);
    for (int64_t h = 0; h < 4; ++h) EXPECT_EQ(all_finite(sinks, h, 3), h != 1) << h;

    Problem slopes({4, 2, 9, 200, 32, 48});
    slopes.set_alibi(191);
    slopes.slopes[2] = std::numeric_limits<float>::quiet_NaN();
    attend(engine, slopes);
    for (int64_t h = 0; h < 4; ++h) EXPECT_EQ(all_finite(slopes, h, 3), h != 2) << h;
  }
}

TEST_P(EngineInputTest, ExtremeMagnitudes) {
  const double max = std::numeric_limits<float>::max();
  for (const int64_t rows : {2, 9}) {
    for (const double magnitude : {0.0, 0x1p-149, 1e-30, 1e15}) {
      Problem p({2, 1, rows, 100, 32, 32});
      causal(p);
      p.query.fill_random(1, test::Content::kNormal, magnitude);
      if (magnitude > 1.0) p.key.fill_random(2, test::Content::kNormal, 1.0 / magnitude);
      test::Random random(3);
      p.value.for_each([&](int64_t, int64_t, int64_t) { return max / 128 * random.uniform(); });
      Engine exact = dense();
      attend(exact, p);
      test::expect_reference(p, GetParam().of_dense(p.call));
      Engine sparse = shadow();
      const CallReport report = attend(sparse, p);
      EXPECT_EQ(report.dense_reason, DenseReason::kNone);
      for (int64_t i = 0; i < rows; ++i) EXPECT_TRUE(all_finite(p, 1, i));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, EngineInputTest, testing::ValuesIn(test::variants_here()),
                         test::kernel_name<Variant>);

}  // namespace
}  // namespace shadowattn
