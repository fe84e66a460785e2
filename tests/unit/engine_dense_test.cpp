// The engine with everything kept, against attention in double precision.
#include <gtest/gtest.h>

#include "engine_problem.h"
#include "kernel_param.h"

namespace shadowattn {
namespace {

using test::attend;
using test::Content;
using test::expect_reference;
using test::Layout;
using test::make_engine;
using test::Problem;
using test::Shape;
using test::Variant;

constexpr ElementType kF16 = ElementType::kF16;
constexpr ElementType kF32 = ElementType::kF32;

struct DenseCase {
  std::string label;
  Shape shape;
  void (*prepare)(Problem& p) = [](Problem&) {};
};

void causal(Problem& p) { p.set_causal(p.shape.keys - p.shape.rows); }

std::vector<DenseCase> shape_cases() {
  std::vector<DenseCase> cases = {
      {"one_of_everything", {1, 1, 1, 1, 16, 16}},
      {"one_key", {4, 2, 9, 1, 64, 64}},
      {"one_row", {7, 1, 1, 300, 64, 64, kF16}},
      {"one_row_causal", {2, 2, 1, 300, 64, 64, kF16}, causal},
      {"gqa1", {3, 3, 20, 130, 64, 64}, causal},
      {"gqa2", {4, 2, 20, 130, 64, 64, kF16}, causal},
      {"gqa7", {14, 2, 20, 130, 64, 64, kF16}, causal},
      {"gqa65", {65, 1, 2, 70, 16, 16}, causal},
      {"many_rows", {1, 1, 200, 260, 32, 32, kF16}, causal},
  };
  for (const int64_t dim : {16, 48, 80, 112, 128, 192, 240, 256}) {
    for (const ElementType type : {kF32, kF16}) {
      cases.push_back({"dim" + std::to_string(dim) + (type == kF16 ? "_f16" : "_f32"),
                       {2, 1, 9, 70, dim, 272 - dim, type},
                       causal});
    }
  }
  for (const Layout layout : test::kLayouts) {
    for (const ElementType type : {kF32, kF16}) {
      for (const int64_t rows : {2, 13}) {
        cases.push_back({std::string(test::name(layout)) + (type == kF16 ? "_f16_" : "_f32_") +
                             std::to_string(rows) + "rows",
                         {4, 2, rows, 100, 48, 80, type, layout},
                         causal});
      }
    }
  }
  return cases;
}

std::vector<DenseCase> mask_cases() {
  const Shape shape = {4, 2, 17, 150, 32, 48, kF16};
  Shape peaky = shape;
  peaky.content = Content::kPeaky;
  Shape outliers = shape;
  outliers.content = Content::kOutliers;
  return {
      {"no_mask", shape},
      {"causal_no_prefix", shape, [](Problem& p) { p.set_causal(0); }},
      {"causal_beyond_the_keys", shape, [](Problem& p) { p.set_causal(145); }},
      {"causal_rows_that_see_nothing", shape, [](Problem& p) { p.set_causal(-5); }},
      {"causal_nobody_sees_anything", shape, [](Problem& p) { p.set_causal(-17); }},
      {"causal_far_offsets", shape, [](Problem& p) { p.set_causal(2147483647); }},
      {"causal_as_mask", shape,
       [](Problem& p) {
         p.set_mask(
             [](int64_t, int64_t i, int64_t j) { return j <= i + 100 ? 0.0 : -test::kInfinity; });
       }},
      {"mask_f32_gaps", shape,
       [](Problem& p) {
         p.set_mask(
             [](int64_t, int64_t i, int64_t j) {
               return j % 5 == i % 5 ? -test::kInfinity : 0.1 * double(j % 7);
             },
             1, kF32, Layout::kGaps);
       }},
      {"mask_f16_misaligned_reversed", shape,
       [](Problem& p) {
         p.set_mask(
             [](int64_t, int64_t i, int64_t j) { return j % 5 == i % 5 ? -test::kInfinity : 0.0; },
             1, kF16, Layout::kReversed);
       }},
      {"sliding_window", shape,
       [](Problem& p) {
         p.set_mask([](int64_t, int64_t i, int64_t j) {
           return j <= i + 133 && j > i + 93 ? 0.0 : -test::kInfinity;
         });
       }},
      {"random_mask", shape,
       [](Problem& p) {
         test::Random random(5);
         p.set_mask([&](int64_t, int64_t, int64_t) {
           return random.chance(0.7) ? -test::kInfinity : 0.0;
         });
       }},
      {"random_mask_per_head", shape,
       [](Problem& p) {
         test::Random random(6);
         p.set_mask(
             [&](int64_t, int64_t, int64_t) {
               return random.chance(0.5) ? -test::kInfinity : random.normal();
             },
             4);
       }},
      {"mask_for_two_of_four_heads", shape,
       [](Problem& p) {
         test::Random random(7);
         p.set_mask(
             [&](int64_t, int64_t, int64_t) { return random.chance(0.5) ? -test::kInfinity : 0.0; },
             2);
       }},
      {"rows_that_see_nothing", shape,
       [](Problem& p) {
         p.set_mask(
             [](int64_t, int64_t i, int64_t) { return i % 4 == 1 ? -test::kInfinity : 0.0; });
       }},
      {"nobody_sees_anything", shape,
       [](Problem& p) { p.set_mask([](int64_t, int64_t, int64_t) { return -test::kInfinity; }); }},
      {"two_sequences", shape, test::set_interleaved},
      {"shifted_context", shape, [](Problem& p) { test::set_shifted(p, 60); }},
      {"shifted_context_in_a_window", shape, [](Problem& p) { test::set_shifted(p, 60, 40); }},
      {"alibi", shape, [](Problem& p) { p.set_alibi(133); }},
      {"softcap", outliers,
       [](Problem& p) {
         causal(p);
         p.call.logit_softcap = 20.0F;
       }},
      {"softcap_and_mask", peaky,
       [](Problem& p) {
         test::set_interleaved(p);
         p.call.logit_softcap = 3.0F;
       }},
      {"sinks", shape,
       [](Problem& p) {
         causal(p);
         p.set_sinks({-3.0F, 0.0F, 5.0F, 40.0F});
       }},
      {"sinks_and_rows_that_see_nothing", shape,
       [](Problem& p) {
         p.set_causal(-5);
         p.set_sinks({-3.0F, 1e30F, -1e30F, -std::numeric_limits<float>::infinity()});
       }},
      {"lowest_float_hides_nothing", shape,
       [](Problem& p) {
         // The same logit everywhere, whatever base it is turned into: plain means.
         p.set_mask(
             [](int64_t, int64_t i, int64_t) {
               return i % 2 == 0 ? 0.0 : -double{std::numeric_limits<float>::max()};
             },
             1, kF32);
         p.value.fill(0.75);
       }},
      {"scale_zero", shape, [](Problem& p) { p.call.scale = 0.0F; }},
      {"scale_enormous",
       {4, 2, 17, 150, 32, 48},
       [](Problem& p) {
         causal(p);
         p.call.scale = 3e38F;
         p.query.fill_random(1, Content::kNormal, 1e-20);
         p.key.fill_random(2, Content::kNormal, 1e-18);
       }},
      {"scale_negative", shape, [](Problem& p) { p.call.scale = -0.3F; }},
      {"peaky", peaky, causal},
      {"outliers", outliers, causal},
  };
}

using Param = test::KernelParam<Variant, DenseCase>;

std::vector<Param> params(const std::vector<DenseCase>& cases) {
  return test::cross(test::variants_here(), cases);
}

class EngineDenseTest : public testing::TestWithParam<Param> {};

TEST_P(EngineDenseTest, MatchesReference) {
  const Variant& variant = GetParam().kernel;
  Problem p(GetParam().data.shape);
  GetParam().data.prepare(p);
  Engine engine = make_engine(variant.with({.mode = Mode::kDense, .threads = 2}));
  const CallReport report = attend(engine, p);
  expect_reference(p, variant.of_dense(p.call));
  EXPECT_EQ(report.dense_reason, DenseReason::kRequested);
  EXPECT_EQ(report.rows, p.shape.rows);
  EXPECT_EQ(report.heads, p.shape.heads);
  EXPECT_EQ(report.keys, p.shape.keys);
  EXPECT_EQ(report.visible_pairs, test::visible_pairs(p));
  EXPECT_EQ(report.kept_pairs, report.visible_pairs);
  EXPECT_EQ(report.lists, 0);
  EXPECT_EQ(report.nonfinite_rows, 0);
}

TEST_P(EngineDenseTest, ShadowThatKeepsEverythingGivesTheSameBits) {
  const Variant& variant = GetParam().kernel;
  Problem p(GetParam().data.shape);
  GetParam().data.prepare(p);
  Engine dense = make_engine(variant.with({.mode = Mode::kDense}));
  attend(dense, p);
  const std::vector<uint32_t> expected = test::bits(p);
  for (const bool share : {true, false}) {
    for (const bool by_floor : {true, false}) {
      Engine shadow = make_engine(variant.with({.keep = by_floor ? 0.01 : 1.0,
                                                .keep_floor = by_floor ? 1000 : 0,
                                                .rows_per_list = share ? 8 : 1,
                                                .share_heads = share}));
      const CallReport report = attend(shadow, p);
      ASSERT_EQ(test::bits(p), expected);
      EXPECT_EQ(report.dense_reason, DenseReason::kShort);
      EXPECT_EQ(report.kept_pairs, report.visible_pairs);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, EngineDenseTest, testing::ValuesIn(params(shape_cases())),
                         test::param_label<Param>);
INSTANTIATE_TEST_SUITE_P(Masks, EngineDenseTest, testing::ValuesIn(params(mask_cases())),
                         test::param_label<Param>);

}  // namespace
}  // namespace shadowattn
