// Dense calls of few rows and many keys, which are cut into parts whose states are combined.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "engine_problem.h"
#include "kernel_param.h"

namespace shadowattn {
namespace {

using test::attend;
using test::Content;
using test::Layout;
using test::make_engine;
using test::Problem;
using test::Shape;
using test::Variant;

constexpr ElementType kF16 = ElementType::kF16;
constexpr float kInf = std::numeric_limits<float>::infinity();

struct PartsCase {
  std::string label;
  Shape shape;
  void (*prepare)(Problem& p) = [](Problem&) {};
};

void causal(Problem& p) { p.set_causal(p.shape.keys - p.shape.rows); }

std::vector<PartsCase> parts_cases() {
  const Shape decode = {4, 2, 1, 3000, 32, 48, kF16, Layout::kRowsFirst};
  const Shape few = {4, 2, 5, 3333, 32, 48, kF16, Layout::kDense, Content::kPeaky};
  return {
      {"no_mask", decode},
      {"shortest", {2, 2, 1, 2048, 16, 16, kF16}},
      {"too_short", {2, 2, 1, 2047, 16, 16, kF16}},
      {"one_head", {1, 1, 1, 5000, 64, 64, kF16}, causal},
      {"one_head_two_rows", {1, 1, 2, 5000, 64, 32}, causal},
      {"group_of_seven", {14, 2, 1, 2500, 64, 64, kF16}, causal},
      {"eight_kv_heads", {16, 8, 1, 2100, 32, 32, kF16}, causal},
      {"enough_tasks", {16, 16, 1, 2100, 16, 16, kF16}, causal},
      {"causal", few, causal},
      {"outliers", {4, 2, 5, 2777, 80, 32, kF16, Layout::kGaps, Content::kOutliers}, causal},
      {"rows_that_see_no_or_some_parts", few, [](Problem& p) { p.set_causal(1021); }},
      {"rows_before_the_keys", few, [](Problem& p) { p.set_causal(-3); }},
      {"keys_begin_late", few,
       [](Problem& p) {
         p.set_mask([](int64_t, int64_t i, int64_t j) {
           return j >= 777 && j < 3100 + i ? 0.0 : -test::kInfinity;
         });
       }},
      // Row by row another part, then the last two; row 4 sees nothing.
      {"parts_per_row", few,
       [](Problem& p) {
         p.set_mask([](int64_t, int64_t i, int64_t j) {
           const int64_t begin[] = {0, 1100, 2300, 1500, 3333};
           const int64_t end[] = {700, 1101, 3333, 3333, 3333};
           return j >= begin[i] && j < end[i] ? 0.0 : -test::kInfinity;
         });
       }},
      {"sequences", few, test::set_interleaved},
      {"many_sequences",
       {2, 1, 6, 4000, 32, 32, kF16},
       [](Problem& p) {
         std::vector<test::Token> cells;
         std::vector<test::Token> rows;
         for (int j = 0; j < 4000; ++j) cells.push_back({j / 1000 % 5, j});
         for (int i = 0; i < 6; ++i) rows.push_back({i, 4000});  // 4 and 5 have no cells
         p.set_cells(cells, rows);
       }},
      {"nobody_sees_anything", few,
       [](Problem& p) { p.set_mask([](int64_t, int64_t, int64_t) { return -test::kInfinity; }); }},
      {"random_mask_per_head", few,
       [](Problem& p) {
         test::Random random(6);
         p.set_mask(
             [&](int64_t, int64_t, int64_t) {
               return random.chance(0.5) ? -test::kInfinity : random.normal();
             },
             4);
       }},
      {"alibi", few, [](Problem& p) { p.set_alibi(3328); }},
      {"softcap", few,
       [](Problem& p) {
         causal(p);
         p.call.logit_softcap = 5.0F;
       }},
      {"sinks", few,
       [](Problem& p) {
         causal(p);
         p.set_sinks({-3.0F, 0.0F, 25.0F, -kInf});
       }},
      {"sinks_and_parts_unseen", few,
       [](Problem& p) {
         p.set_causal(1021);
         p.set_sinks({-3.0F, 1e30F, -1e30F, -kInf});
       }},
      {"sinks_and_nothing_seen", few,
       [](Problem& p) {
         p.set_causal(-5);
         p.set_sinks({-3.0F, 0.0F, 25.0F, -kInf});
       }},
      {"logits_rise_from_part_to_part",
       {2, 1, 3, 4096, 16, 16},
       [](Problem& p) {
         p.query.fill(1.0);
         p.key.for_each([](int64_t, int64_t j, int64_t) { return double(j) / 200.0; });
       }},
      {"logits_fall_from_part_to_part",
       {2, 1, 3, 4096, 16, 16},
       [](Problem& p) {
         p.query.fill(1.0);
         p.key.for_each([](int64_t, int64_t j, int64_t) { return -double(j) / 10.0; });
       }},
  };
}

using Param = test::KernelParam<Variant, PartsCase>;

class EnginePartsTest : public testing::TestWithParam<Param> {};

TEST_P(EnginePartsTest, MatchesReferenceWithTheSameBitsForAnyThreads) {
  const Variant& variant = GetParam().kernel;
  Problem p(GetParam().data.shape);
  GetParam().data.prepare(p);
  std::vector<uint32_t> expected;
  for (const int threads : {1, 2, 3, 4, 5}) {
    Engine engine = make_engine(variant.with({.mode = Mode::kDense, .threads = threads}));
    const CallReport report = attend(engine, p);
    if (threads == 1) {
      test::expect_reference(p, variant.of_dense(p.call));
      expected = test::bits(p);
    }
    EXPECT_EQ(report.visible_pairs, test::visible_pairs(p));
    EXPECT_EQ(report.kept_pairs, report.visible_pairs);
    ASSERT_EQ(test::bits(p), expected) << threads << " threads";
    attend(engine, p);
    ASSERT_EQ(test::bits(p), expected) << threads << " threads, second call";
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, EnginePartsTest,
                         testing::ValuesIn(test::cross(test::variants_here(), parts_cases())),
                         test::param_label<Param>);

class EnginePartsInputTest : public testing::TestWithParam<Variant> {};

TEST_P(EnginePartsInputTest, CasesAreCut) {
  // Else the tests above show nothing.
  const std::set<std::string> whole = {"too_short", "enough_tasks",
                                       // Their rows see fewer than 2048 keys.
                                       "rows_that_see_no_or_some_parts", "rows_before_the_keys",
                                       "nobody_sees_anything", "sinks_and_parts_unseen",
                                       "sinks_and_nothing_seen"};
  for (const PartsCase& c : parts_cases()) {
    Problem p(c.shape);
    c.prepare(p);
    EXPECT_EQ(GetParam().of_dense(p.call).parts == 1, whole.contains(c.label)) << c.label;
  }
}

TEST_P(EnginePartsInputTest, NanShowsWhateverElseIsInItsPart) {
  // Row 2 sees one key of the second part alone, and that is NaN.
  for (const bool others : {true, false}) {
    for (const double bad : {test::kNan, test::kInfinity}) {
      for (const int64_t key : {0, 1500, 2999}) {
        Problem p({2, 1, 5, 3000, 32, 32, kF16});
        p.set_mask([=](int64_t, int64_t i, int64_t j) {
          if (i == 2 && j == key) return bad;
          const bool elsewhere = j / 1000 != key / 1000;
          return i == 2 && !(others && elsewhere) ? -test::kInfinity : 0.0;
        });
        Engine engine = make_engine(GetParam().with({.mode = Mode::kDense, .threads = 2}));
        attend(engine, p);
        test::expect_reference(p, GetParam().of_dense(p.call));
        EXPECT_TRUE(std::isnan(test::element(p.call.output, 1, 2, 3)));
      }
    }
  }
}

TEST_P(EnginePartsInputTest, PartsWeighWhatTheirLogitsSay) {
  // Within a part all logits are equal, so weights are one in any arithmetic, and values are ±1:
  // only how parts and sinks are weighed is left to be wrong.
  for (const double a : {-3.0, 0.0, 2.0, 40.0}) {
    for (const double difference : {0.0, 0.5, 3.0, -8.0}) {
      for (const bool sinks : {false, true}) {
        Problem p({4, 1, 1, 2048, 16, 16});
        ASSERT_EQ(GetParam().of_dense(p.call).parts, 2);
        const double b = a - difference;
        p.call.scale = 1.0F;
        p.query.for_each([](int64_t, int64_t, int64_t d) { return d == 0 ? 1.0 : 0.0; });
        p.key.for_each([&](int64_t, int64_t j, int64_t d) {
          return d > 0 ? 0.0 : j < 1024 ? a : b;
        });
        p.value.for_each([](int64_t, int64_t j, int64_t) { return j < 1024 ? 1.0 : -1.0; });
        const auto sink = static_cast<float>(a + 1.5);
        if (sinks) p.set_sinks({sink, sink, sink, sink});
        Engine engine = make_engine(GetParam().with({.mode = Mode::kDense}));
        attend(engine, p);
        const double other = std::exp(b - a);
        const double extra = sinks ? std::exp(1.5) / 1024.0 : 0.0;
        const double expected = (1.0 - other) / (1.0 + other + extra);
        // Ten roundings of each logit (six in it, two in its unit, two on the way back), std::exp
        // and the combination; a difference of logits moves the output by at most half of itself.
        const double error =
            10 * test::kUnit * (std::fabs(a) + std::fabs(b) + (sinks ? std::fabs(a) : 0.0)) +
            test::kUnit * (std::fabs(difference) + 1.5) + 30 * test::kUnit;
        for (int64_t h = 0; h < 4; ++h) {
          ASSERT_NEAR(test::element(p.call.output, h, 0, 5), expected, error) << a << " " << b;
        }
      }
    }
  }
}

TEST_P(EnginePartsInputTest, WhatSixteenBitsCannotHoldMakesItsPartF32) {
  Problem p({8, 2, 1, 3000, 32, 32});
  p.value.set(0, 2900, 3, 0x1p101);
  p.value.set(1, 17, 4, test::kInfinity);
  p.key.set(1, 1800, 5, test::kNan);
  Engine engine = make_engine(GetParam().with({.mode = Mode::kDense, .threads = 2}));
  attend(engine, p);
  for (int64_t h = 0; h < 4; ++h) {
    test::expect_reference_row(p, h, 0, GetParam().of_dense(p.call));
  }
  for (int64_t h = 4; h < 8; ++h) EXPECT_TRUE(std::isnan(test::element(p.call.output, h, 0, 0)));
}

TEST_P(EnginePartsInputTest, ScratchIsReportedAndDoesNotGrow) {
  const auto scratch = [](Engine& engine, Problem& p) { return attend(engine, p).scratch_bytes; };
  for (const Mode mode : {Mode::kDense, Mode::kShadow}) {
    for (const int64_t rows : {1, 40}) {
      Problem p({4, 2, rows, 2100, 32, 32, kF16});
      causal(p);
      Engine engine = make_engine(GetParam().with({.mode = mode, .threads = 2}));
      const int64_t first = scratch(engine, p);
      EXPECT_GT(first, 0);
      EXPECT_EQ(scratch(engine, p), first);
      Problem smaller({4, 2, 1, 300, 32, 32, kF16});
      EXPECT_EQ(scratch(engine, smaller), first) << "kept";
      EXPECT_EQ(scratch(engine, p), first);
      Problem larger({8, 2, rows, 4200, 48, 48, kF16});
      EXPECT_GT(scratch(engine, larger), first);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, EnginePartsInputTest, testing::ValuesIn(test::variants_here()),
                         test::kernel_name<Variant>);

}  // namespace
}  // namespace shadowattn
