// The automatic gate: its cost model, the plan that follows from it, and an engine that uses it.
// What the gate decides depends on the machine, so what is checked is that the decision is carried
// out and reported, not which one it is.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/cost_probe.h"
#include "engine_problem.h"
#include "plan/cost_model.h"

namespace shadowattn {
namespace {

using test::Problem;

/// Powers of two: sums of small cases are exact and tell which term is missing.
constexpr CostModel kModel = {
    .dense_key = 1, .dense_pair = 2, .shadow_key = 4, .list_key = 8, .list_kept = 16};

Visibility visibility_of(const Problem& p) {
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  return {p.call, *executor};
}

PredictedCost predict(const Problem& p, const EngineOptions& options, int64_t dense_rows) {
  return predict_cost(kModel, options, visibility_of(p), p.shape.heads / p.shape.kv_heads,
                      dense_rows);
}

TEST(CostModelTest, SumsTilesPairsAndLists) {
  const Problem p({.heads = 2, .rows = 4, .keys = 10});
  EngineOptions o = {.keep = 0.5, .keep_floor = 0, .rows_per_list = 2};
  const PredictedCost cost = predict(p, o, 3);
  EXPECT_EQ(cost.dense, 2 * 10 * 1 + 4 * 2 * 10 * 2);      // two tiles, 80 pairs
  EXPECT_EQ(cost.shadow, 10 * 4 + 2 * (10 * 8 + 5 * 16));  // two lists of five
  o.share_heads = false;
  EXPECT_EQ(predict(p, o, 3).shadow, 10 * 4 + 4 * (10 * 8 + 5 * 16));
  EXPECT_EQ(predict(p, o, 3).dense, cost.dense);
  o.keep_floor = 7;
  EXPECT_EQ(predict(p, o, 3).shadow, 10 * 4 + 4 * (10 * 8 + 7 * 16));
}

TEST(CostModelTest, CountsWhatRowsSee) {
  Problem causal({.heads = 2, .rows = 3, .keys = 8});
  causal.set_causal(5);  // 6, 7 and 8 keys
  const EngineOptions o = {.keep = 0.5, .keep_floor = 0, .rows_per_list = 2};
  EXPECT_EQ(predict(causal, o, 2).dense, (7 + 8) * 1 + (6 + 7 + 8) * 2 * 2);
  EXPECT_EQ(predict(causal, o, 2).shadow, 8 * 4 + (7 + 8) * 8 + (4 + 4) * 16);

  Problem window({.heads = 2, .rows = 2, .keys = 10});
  window.set_mask([](int64_t, int64_t, int64_t j) { return j >= 4 ? 0.0 : -INFINITY; });
  EXPECT_EQ(predict(window, o, 2).dense, 6 * 1 + 2 * 2 * 6 * 2);
  EXPECT_EQ(predict(window, o, 2).shadow, 6 * 4 + 6 * 8 + 3 * 16);
}

TEST(CostModelTest, NothingCostsNothing) {
  const PredictedCost cost = predict(Problem({.rows = 0}), {}, 3);
  EXPECT_EQ(cost.dense, 0.0);
  EXPECT_FALSE(cost.shadow_pays());
}

TEST(CostModelTest, ShadowMustBeClearlyCheaper) {
  EXPECT_TRUE((PredictedCost{.dense = 100, .shadow = 94.9}).shadow_pays());
  EXPECT_FALSE((PredictedCost{.dense = 100, .shadow = 95.1}).shadow_pays());
  EXPECT_FALSE((PredictedCost{.dense = 100, .shadow = 100}).shadow_pays());
  EXPECT_FALSE((PredictedCost{.dense = 0, .shadow = 0}).shadow_pays());
}

// A list reads a key no cheaper than a tile does, so lists of nearly everything never pay.
TEST(CostModelTest, KeepingNearlyEverythingNeverPays) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> any(0.0, 10.0);
  const EngineOptions o = {.keep = 0.95, .keep_floor = 0, .rows_per_list = 1, .share_heads = false};
  Problem p({.heads = 4, .rows = 20, .keys = 300});
  p.set_causal(280);
  const Visibility visibility = visibility_of(p);
  for (int i = 0; i < 1000; ++i) {
    CostModel m = {0.0, any(random), any(random), any(random), 0.0};
    m.list_kept = m.dense_pair + any(random);
    EXPECT_FALSE(predict_cost(m, o, visibility, 4, 16).shadow_pays());
  }
}

/// One call with the gate, which must do one of two things, whole.
CallReport attend_gated(Problem& p, const EngineOptions& options, const test::Variant& variant) {
  EngineOptions sparse_options = options;
  sparse_options.gate = false;
  Engine sparse = test::make_engine(sparse_options);
  test::attend(sparse, p);
  const std::vector<uint32_t> sparse_bits = test::bits(p);

  Result<Engine> engine = Engine::create(test::fixed_keep(options));
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  const CallReport report = test::attend(engine.value(), p);
  if (report.dense_reason == DenseReason::kFaster) {
    EXPECT_EQ(describe(report.dense_reason), "dense attention is predicted to be faster");
    EXPECT_EQ(report.lists, 0);
    EXPECT_EQ(report.kept_pairs, report.visible_pairs);
    test::expect_reference(p, variant.of_dense(p.call));
  } else {
    EXPECT_EQ(report.dense_reason, DenseReason::kNone);
    EXPECT_GT(report.lists, 0);
    EXPECT_LT(report.kept_pairs, report.visible_pairs);
    EXPECT_EQ(test::bits(p), sparse_bits);
  }
  // Once measured, a decision stands.
  EXPECT_EQ(test::attend(engine.value(), p).dense_reason, report.dense_reason);
  return report;
}

TEST(GateEngineTest, OneRowOfALongContext) {
  for (const test::Variant& variant : test::variants_here()) {
    SCOPED_TRACE(variant.name);
    for (const double keep : {0.02, 0.2}) {
      Problem p({.heads = 4,
                 .kv_heads = 2,
                 .rows = 1,
                 .keys = 6000,
                 .dim = 32,
                 .value_dim = 32,
                 .type = ElementType::kF16});
      attend_gated(p, variant.with({.keep = keep}), variant);
    }
  }
}

TEST(GateEngineTest, ManyRows) {
  for (const test::Variant& variant : test::variants_here()) {
    SCOPED_TRACE(variant.name);
    Problem p({.heads = 4,
               .kv_heads = 2,
               .rows = 40,
               .keys = 700,
               .dim = 32,
               .value_dim = 32,
               .type = ElementType::kF16});
    p.set_causal(660);
    attend_gated(p, variant.with({.keep = 0.2, .keep_floor = 16}), variant);
  }
}

// With an aim for the mass too: what is dense is exact, what is not keeps its promise on average.
TEST(GateEngineTest, ListsThatEndByMass) {
  const test::Variant variant = test::variants_here().front();
  Problem p({.heads = 4,
             .kv_heads = 2,
             .rows = 64,
             .keys = 3000,
             .dim = 32,
             .value_dim = 32,
             .type = ElementType::kF16});
  p.set_causal(2936);
  p.call.scale *= 8.0F;  // few keys hold most of the mass
  p.call.layer = 2;
  EngineOptions options = variant.with({.attn_error = 0.05});
  options.sample_every = 16;
  Result<Engine> engine = Engine::create(options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  for (int i = 0; i < 3; ++i) {
    const CallReport report = test::attend(engine.value(), p);
    if (report.dense_rows == 2 * 64 || report.dense_reason == DenseReason::kFaster) {
      EXPECT_EQ(report.kept_pairs, report.visible_pairs);
      EXPECT_EQ(report.lists, 0);
      continue;
    }
    EXPECT_LT(report.kept_pairs, report.visible_pairs);
    EXPECT_EQ(report.dense_reason, DenseReason::kNone);
    EXPECT_LT(report.estimated_lost, 0.05 * static_cast<double>(report.estimated_rows));
  }
  // A decode step after the prompt: whatever is chosen for it, the prompt's choice stays.
  Problem step({.heads = 4,
                .kv_heads = 2,
                .rows = 1,
                .keys = 3000,
                .dim = 32,
                .value_dim = 32,
                .type = ElementType::kF16});
  step.call.layer = 2;
  const int64_t lists = test::attend(engine.value(), p).lists;
  test::attend(engine.value(), step);
  EXPECT_EQ(test::attend(engine.value(), p).lists, lists);
}

// A layer that the engine has not met is not decoded sparsely: there is nothing to go by.
TEST(GateEngineTest, DecodingAnUnknownLayerIsDense) {
  Problem step({.heads = 4, .kv_heads = 2, .rows = 1, .keys = 6000, .dim = 32, .value_dim = 32});
  step.call.layer = 7;
  Result<Engine> engine = Engine::create({.attn_error = 0.2, .keep_floor = 16});
  ASSERT_TRUE(engine.ok());
  const CallReport report = test::attend(engine.value(), step);
  EXPECT_EQ(report.dense_reason, DenseReason::kFaster);
  EXPECT_EQ(report.kept_pairs, report.visible_pairs);
}

// Lists of nearly everything, one per row and head, do all that dense attention does and more. A
// measurement may be disturbed, five in a row are not.
TEST(GateEngineTest, ListsOfNearlyEverythingComeOutDense) {
  const test::Variant variant = test::variants_here().back();
  Problem p({.heads = 2, .kv_heads = 1, .rows = 32, .keys = 700, .dim = 32, .value_dim = 32});
  p.set_causal(668);
  const EngineOptions o =
      variant.with({.keep = 0.9, .keep_floor = 0, .rows_per_list = 1, .share_heads = false});
  DenseReason reason = DenseReason::kNone;
  for (int i = 0; i < 5 && reason == DenseReason::kNone; ++i) {
    reason = attend_gated(p, o, variant).dense_reason;
  }
  EXPECT_EQ(reason, DenseReason::kFaster);
}

void expect_sane(const EngineOptions& options, const CostShape& shape) {
  const Result<CostModel> result = measure_costs(options, shape);
  ASSERT_TRUE(result.ok()) << result.status().message();
  const CostModel& m = result.value();
  for (const double cost : {m.dense_key, m.dense_pair, m.shadow_key, m.list_key, m.list_kept}) {
    EXPECT_TRUE(std::isfinite(cost) && cost >= 0.0) << cost;
  }
  EXPECT_GT(m.dense_key + m.dense_pair, 0.0) << "dense attention for nothing";
  EXPECT_GT(m.shadow_key + m.list_key + m.list_kept, 0.0) << "shadow attention for nothing";
}

TEST(CostProbeTest, MeasuresTypesDimsAndLevels) {
  constexpr ElementType kTypes[] = {ElementType::kF16, ElementType::kF32, ElementType::kQ8_0};
  for (const test::Variant& variant : test::variants_here()) {
    for (const ElementType type : kTypes) {
      for (const int64_t dim : {16, 64, 256}) {
        if (type == ElementType::kQ8_0 && dim % 32 != 0) continue;
        SCOPED_TRACE(variant.name + " dim " + std::to_string(dim));
        expect_sane(variant.with({.rows_per_list = 2}), {dim, dim, 1, type, type});
      }
    }
  }
}

TEST(CostProbeTest, MeasuresMixedShapesAndOtherLists) {
  const CostShape mixed{96, 64, 3, ElementType::kQ8_0, ElementType::kF16};
  expect_sane({}, mixed);
  expect_sane({.rows_per_list = 1, .share_heads = false}, mixed);
  expect_sane({.rows_per_list = 64, .pilot_step = 8}, {32, 32, 2});
  // A gate that is on must not make the probe measure itself.
  expect_sane({.mode = Mode::kDense, .gate = true}, {32, 32, 1});
}

TEST(CostProbeTest, SaysWhatItCannotMeasure) {
  EXPECT_FALSE(measure_costs({}, {40, 40, 1}).ok());
  EXPECT_FALSE(measure_costs({.isa = "mmx"}, {32, 32, 1}).ok());
}

}  // namespace
}  // namespace shadowattn
