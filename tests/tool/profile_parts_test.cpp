// Parts of `shadowattn profile`: calls cut up, shares within a budget, scales, partial results.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "common/failure.h"
#include "kernels/half.h"
#include "profile/budget.h"
#include "profile/mass.h"
#include "profile/partial.h"
#include "profile/profile_report.h"
#include "profile/scale_buckets.h"
#include "profile/sub_call.h"
#include "shadowattn/engine.h"

namespace shadowattn::tool {
namespace {

/// A call with random operands, an additive mask that hides the future, and an output.
class SmallCall {
 public:
  SmallCall(int64_t heads, int64_t kv_heads, int64_t rows, int64_t keys, int64_t mask_heads = 1,
            int64_t dim = 32)
      : query_(random(heads * rows * dim)),
        value_(random(kv_heads * keys * dim)),
        output_(static_cast<size_t>(heads * rows * dim)) {
    for (const float x : random(kv_heads * keys * dim)) key_.push_back(float_to_half(x));
    for (int64_t m = 0; m < mask_heads; ++m) {
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t key = 0; key < keys; ++key) {
          // Each mask hides one key more of the past, so that a wrong one shows.
          const bool hidden = key > keys - rows + row || key < m;
          mask_.push_back(hidden ? -std::numeric_limits<float>::infinity() : 0.0F);
        }
      }
    }
    for (int64_t h = 0; h < heads; ++h) sinks_.push_back(0.1F * static_cast<float>(h));
    call_.query = {query_.data(), ElementType::kF32, heads, rows, dim, rows * dim * 4, dim * 4};
    call_.key = {key_.data(), ElementType::kF16, kv_heads, keys, dim, keys * dim * 2, dim * 2};
    call_.value = {value_.data(), ElementType::kF32, kv_heads, keys, dim, keys * dim * 4, dim * 4};
    call_.output = {output_.data(), heads, rows, dim, rows * dim * 4, dim * 4};
    call_.mask.kind = MaskKind::kAdditive;
    call_.mask.additive = {mask_.data(), ElementType::kF32, mask_heads, rows,
                           keys,         rows * keys * 4,   keys * 4};
    call_.scale = 0.3F;
    call_.sink_logits = sinks_.data();
    call_.layer = 3;
  }

  AttentionCall& call() { return call_; }
  std::vector<float>& output() { return output_; }
  std::vector<float>& query() { return query_; }
  std::vector<uint16_t>& key() { return key_; }

 private:
  std::vector<float> random(int64_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(count));
    for (float& x : values) x = normal(generator_);
    return values;
  }

  std::mt19937 generator_{1};
  std::vector<float> query_;
  std::vector<uint16_t> key_;
  std::vector<float> value_;
  std::vector<float> mask_;
  std::vector<float> sinks_;
  std::vector<float> output_;
  AttentionCall call_;
};

void attend_densely(const AttentionCall& call) {
  auto engine = Engine::create({.mode = Mode::kDense, .precision = Precision::kF32});
  ASSERT_TRUE(engine.ok());
  const Status status = engine.value().attend(call);
  ASSERT_TRUE(status.ok()) << status.message();
}

TEST(SubCall, PartsGiveTheWholeOutput) {
  for (const int64_t mask_heads : {1, 2, 4, 12}) {
    SmallCall whole(12, 3, 9, 40, mask_heads);
    attend_densely(whole.call());
    const std::vector<float> expected = whole.output();
    std::fill(whole.output().begin(), whole.output().end(), -7.0F);
    bool cut = true;
    for (int64_t kv_head = 0; kv_head < 3; ++kv_head) {
      const auto part = kv_head_call(whole.call(), kv_head);
      cut = cut && part.ok();
      if (!part.ok()) continue;
      EXPECT_EQ(part.value().layer, -1);
      attend_densely(part.value());
    }
    // Masks of heads 0 and 1 in turns are not those of a group of four.
    EXPECT_EQ(cut, mask_heads != 2);
    if (cut) {
      EXPECT_EQ(whole.output(), expected) << mask_heads;
    }
  }
}

TEST(SubCall, LastRowsGiveTheEndOfTheOutput) {
  SmallCall whole(4, 2, 9, 40);
  attend_densely(whole.call());
  const std::vector<float> expected = whole.output();
  std::fill(whole.output().begin(), whole.output().end(), 0.0F);
  const AttentionCall last = last_rows(whole.call(), 4);
  EXPECT_EQ(last.query.rows, 4);
  attend_densely(last);
  for (size_t i = 0; i < expected.size(); ++i) {
    const size_t row = i / 32 % 9;
    ASSERT_NEAR(whole.output()[i], row < 5 ? 0.0F : expected[i], 1e-5) << i;
  }
  EXPECT_EQ(last_rows(whole.call(), 100).query.rows, 9);
}

TEST(SubCall, LastRowsOfACausalCall) {
  SmallCall whole(4, 2, 9, 40);
  whole.call().mask = {};
  whole.call().mask.kind = MaskKind::kCausal;
  whole.call().mask.causal_offset = 31;
  attend_densely(whole.call());
  const std::vector<float> expected = whole.output();
  std::fill(whole.output().begin(), whole.output().end(), 0.0F);
  attend_densely(last_rows(whole.call(), 1));
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(whole.output()[i], i / 32 % 9 < 8 ? 0.0F : expected[i], 1e-5) << i;
  }
}

TEST(Mass, CandidatesHaveNoTwins) {
  for (const int64_t group : {1, 7}) {
    const std::vector<ListShape> lists = candidate_lists(group);
    EXPECT_EQ(lists.size(), group == 1 ? 5U : 6U);
    EXPECT_TRUE(lists.back().dense);
    for (size_t i = 0; i < lists.size(); ++i) {
      for (size_t j = 0; j < i; ++j) EXPECT_FALSE(lists[i] == lists[j]);
    }
  }
}

TEST(Mass, FastestIsChosen) {
  std::vector<KeptCurve> curves(3);
  curves[0].nanoseconds = 3;
  curves[1].nanoseconds = 1;
  curves[1].lists.rows_per_list = 2;
  curves[2].nanoseconds = 2;
  EXPECT_EQ(fastest_lists(curves).rows_per_list, 2);
  EXPECT_EQ(fastest_lists({}), ListShape());
  curves[2].lists.dense = true;
  EXPECT_EQ(fastest_lists(curves).rows_per_list, 2);
  curves[1].nanoseconds = 1.97;  // not worth an error
  EXPECT_TRUE(fastest_lists(curves).dense);
}

TEST(Mass, MeasuresEveryHead) {
  SmallCall whole(4, 2, 64, 600);
  const auto heads = measure_kv_heads(
      whole.call(), {.attn_error = 0.05, .curve_rows = 16, .timed_runs = 1}, [] { return false; });
  ASSERT_EQ(heads.size(), 2U);
  for (const KvHeadProfile& head : heads) {
    ASSERT_EQ(head.curves.size(), 6U);
    EXPECT_EQ(head.lists, fastest_lists(head.curves));
    for (const KeptCurve& curve : head.curves) {
      ASSERT_EQ(curve.attn_error.size(), measured_errors().size());
      ASSERT_EQ(curve.kept.size(), measured_errors().size());
      EXPECT_GT(curve.nanoseconds, 0.0);
      EXPECT_EQ(curve.keys, 600 - 8);  // of the last 16 rows: 585 … 600
      for (size_t i = 0; i < curve.kept.size(); ++i) {
        EXPECT_GT(curve.kept[i], 0.0);
        EXPECT_LE(curve.kept[i], i == 0 ? 1.0 : curve.kept[i - 1]);
      }
      if (curve.lists.dense) {
        EXPECT_EQ(curve.kept.back(), 1.0);
      }
    }
  }
}

TEST(Mass, StopsWhenAsked) {
  SmallCall whole(2, 1, 64, 600);
  EXPECT_THROW(measure_kv_heads(whole.call(), {}, [] { return true; }), Failure);
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

TEST(Budget, ImportanceIsAProductWithACap) {
  EXPECT_DOUBLE_EQ(head_importance(0.5, 0.25), 0.125);
  EXPECT_DOUBLE_EQ(head_importance(3.0, 2.0), kLargestImportance);
  EXPECT_DOUBLE_EQ(head_importance(-3.0, -2.0), 0.0);
  EXPECT_DOUBLE_EQ(head_importance(-3.0, 2.0), 0.0);
}

TEST(Budget, SharesAreProportional) {
  const auto shares = shares_by_importance(std::vector<double>{1, 2, 3, 4}, 0.2, 0.01);
  ASSERT_EQ(shares.size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(shares[i], 0.08 * (static_cast<double>(i) + 1), 1e-12);
  }
}

// What the published code's redistribution gets wrong: one head cut to 1 leaves the others their
// proportions, and the average is kept.
TEST(Budget, WhatACapTakesIsSharedOut) {
  const auto shares = shares_by_importance(std::vector<double>{100, 1, 1, 2}, 0.5, 0.01);
  EXPECT_DOUBLE_EQ(shares[0], 1.0);
  EXPECT_NEAR(shares[1], 0.25, 1e-9);
  EXPECT_NEAR(shares[2], 0.25, 1e-9);
  EXPECT_NEAR(shares[3], 0.5, 1e-9);
}

TEST(Budget, NoShareBelowTheFloor) {
  std::vector<double> importances(50, 0.0);
  importances[7] = 1e-3;
  importances[9] = 1.0;
  const auto shares = shares_by_importance(importances, 0.1, 0.02);
  for (const double share : shares) {
    EXPECT_GE(share, 0.02);
    EXPECT_LE(share, 1.0);
  }
  EXPECT_EQ(shares[9], 1.0);
  EXPECT_NEAR(mean(shares), 0.1, 1e-9);
}

TEST(Budget, ExtremeImportances) {
  for (const double x : shares_by_importance(std::vector<double>(5, 0.0), 0.3, 0.02)) {
    EXPECT_EQ(x, 0.3);
  }
  for (const double x : shares_by_importance(std::vector<double>{1e-300, 1, 0}, 1.0, 0.02)) {
    EXPECT_NEAR(x, 1.0, 1e-9);
  }
  EXPECT_TRUE(shares_by_importance({}, 0.3, 0.02).empty());
}

TEST(Budget, RandomBudgetsAreSpent) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int round = 0; round < 200; ++round) {
    std::vector<double> importances(1 + random() % 40);
    for (double& x : importances) x = std::pow(uniform(random), 8);
    const double budget = 0.02 + 0.98 * uniform(random);
    const double floor = budget * uniform(random);
    const auto shares = shares_by_importance(importances, budget, floor);
    EXPECT_NEAR(mean(shares), budget, 1e-9);
    for (size_t i = 0; i < shares.size(); ++i) {
      EXPECT_TRUE(shares[i] >= floor && shares[i] <= 1.0);
      for (size_t j = 0; j < i; ++j) {
        if (importances[i] > importances[j]) {
          EXPECT_GE(shares[i], shares[j]);
        }
      }
    }
  }
}

KeptCurve curve_of(std::vector<double> errors, std::vector<double> kept) {
  KeptCurve curve;
  curve.attn_error = std::move(errors);
  curve.kept = std::move(kept);
  return curve;
}

TEST(Budget, EqualMassIsLost) {
  const std::vector<KeptCurve> curves = {curve_of({0.01, 0.1}, {0.8, 0.4}),
                                         curve_of({0.01, 0.1}, {0.3, 0.1})};
  const auto shares = shares_by_mass(curves, 0.25, 0.01);  // the average at 0.1
  EXPECT_NEAR(shares[0], 0.4, 1e-9);
  EXPECT_NEAR(shares[1], 0.1, 1e-9);
  const auto between = shares_by_mass(curves, 0.4, 0.01);  // half way in the logarithm
  EXPECT_NEAR(between[0], 0.6, 1e-9);
  EXPECT_NEAR(between[1], 0.2, 1e-9);
  const auto beyond = shares_by_mass(curves, 0.95, 0.01);
  EXPECT_EQ(beyond[0], 1.0);
  EXPECT_NEAR(beyond[1], 0.9, 1e-9);
  const auto little = shares_by_mass(curves, 0.05, 0.04);
  EXPECT_NEAR(mean(little), 0.05, 1e-9);
  EXPECT_GE(little[1], 0.04);
  EXPECT_EQ(shares_by_mass(std::vector<KeptCurve>{curve_of({0.1}, {0.5})}, 0.2, 0.1)[0], 0.5);
}

TEST(ScaleBuckets, EveryNeedIsCovered) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(-4, 3);
  for (int round = 0; round < 100; ++round) {
    std::vector<float> needed(random() % 20);
    for (float& x : needed) x = std::exp2(normal(random));
    const std::vector<float> grid = scale_buckets(needed);
    EXPECT_EQ(grid.empty(), needed.empty());
    EXPECT_TRUE(std::is_sorted(grid.begin(), grid.end()));
    for (const float x : needed) {
      const auto scale = std::lower_bound(grid.begin(), grid.end(), 1.05F * x);
      ASSERT_NE(scale, grid.end());
      EXPECT_LE(*scale, x * 1.6F);  // at most half a bit, and the room
      EXPECT_GE(grid.back(), 2 * x);
    }
  }
}

TEST(ScaleBuckets, WhatIsNoScaleIsLeftOut) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(scale_buckets({}).empty());
  EXPECT_TRUE(scale_buckets({0.0F, -1.0F, infinity, std::nanf(""), 1e-45F, 1e38F}).empty());
  EXPECT_EQ(scale_buckets({0.0F, 1.0F}).size(), 2U);
}

TEST(ScaleBuckets, MeasuresWhatDevicesQuantise) {
  SmallCall whole(4, 2, 8, 40);
  std::fill(whole.query().begin(), whole.query().end(), 0.5F);
  whole.query()[0] = -12.7F;  // head 0: one large row of 16
  std::fill(whole.key().begin(), whole.key().end(), float_to_half(100.0F));
  // Of KV head 1, half the keys are 2 above the mean, half below, in one dimension.
  for (size_t key = 0; key < 40; ++key) {
    whole.key()[(40 + key) * 32 + 5] = float_to_half(key % 2 == 0 ? 102.0F : 98.0F);
  }
  const NeededScales exact = measure_scales(whole.call(), 0.0);
  ASSERT_EQ(exact.query.size(), 2U);
  EXPECT_FLOAT_EQ(exact.query[0], 0.1F);
  EXPECT_FLOAT_EQ(exact.query[1], 0.5F / 127);
  ASSERT_EQ(exact.key.size(), 1U);  // the first head's keys are all the mean
  EXPECT_NEAR(exact.key[0], 2.0F / 127, 1e-6);
  EXPECT_FLOAT_EQ(measure_scales(whole.call(), 0.1).query[0], 0.5F / 127);
  whole.query()[3] = std::nanf("");
  EXPECT_EQ(measure_scales(whole.call(), 0.0).query.size(), 1U);
}

TEST(ScaleBuckets, HiddenKeysDoNotCount) {
  SmallCall whole(1, 1, 2, 40);
  whole.call().mask = {};
  whole.call().mask.kind = MaskKind::kCausal;
  whole.call().mask.causal_offset = 18;  // the cache has room for more than the 20 keys seen
  for (size_t i = 20 * 32; i < whole.key().size(); ++i) whole.key()[i] = 0x7C00;
  EXPECT_EQ(measure_scales(whole.call(), 0.0).key.size(), 1U);
}

PartialProfile sample_partial() {
  PartialProfile partial;
  partial.key = "a key";
  partial.profile.model = {"qwen2", "fnv1a64:1", 3};
  partial.profile.layers.resize(3);
  LayerProfile& layer = partial.profile.layers[1];
  layer.head_dim = 64;
  layer.heads.resize(2);
  layer.kv_heads.resize(1);
  partial.layers = {1};
  partial.losses = {{"", 3.5}, {"1:*", 4.25}, {"1:0", 3.5625}};
  return partial;
}

TEST(PartialProfile, ThereAndBack) {
  const PartialProfile partial = sample_partial();
  const auto back = parse_partial(partial_json(partial), "a key", 3);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->key, partial.key);
  EXPECT_EQ(back->layers, partial.layers);
  EXPECT_EQ(back->losses, partial.losses);
  EXPECT_EQ(to_json(back->profile), to_json(partial.profile));
}

TEST(PartialProfile, OthersAreNotTakenOver) {
  const std::string text = partial_json(sample_partial());
  EXPECT_FALSE(parse_partial(text, "another key", 3).has_value());
  EXPECT_FALSE(parse_partial(text, "a key", 4).has_value());
  EXPECT_FALSE(parse_partial("", "a key", 3).has_value());
  EXPECT_FALSE(parse_partial("[]", "a key", 3).has_value());
  for (size_t length = 0; length + 2 < text.size(); ++length) {
    ASSERT_FALSE(parse_partial(text.substr(0, length), "a key", 3).has_value()) << length;
  }
  std::mt19937 random(2);
  for (int round = 0; round < 5000; ++round) {
    std::string damaged = text;
    damaged[random() % damaged.size()] = static_cast<char>(random() % 256);
    damaged.erase(random() % damaged.size(), random() % 3);
    const auto partial = parse_partial(damaged, "a key", 3);
    if (!partial) continue;
    EXPECT_EQ(partial->profile.layers.size(), 3U);
    for (const int layer : partial->layers) EXPECT_TRUE(layer >= 0 && layer < 3);
  }
}

TEST(ProfileReport, AsChosenAndEveryFixedShape) {
  Profile profile;
  profile.attn_error = 0.05;
  profile.layers.resize(2);
  profile.layers[1].heads.resize(4);
  for (const double sparse_ns : {0.5, 2.0}) {
    KvHeadProfile head;
    KeptCurve sparse = curve_of({0.01, 0.05}, {0.5, 0.25});
    sparse.nanoseconds = sparse_ns;
    KeptCurve dense = curve_of({0.01, 0.05}, {1, 1});
    dense.lists.dense = true;
    dense.nanoseconds = 1.0;
    head.curves = {sparse, dense};
    head.lists = fastest_lists(head.curves);
    profile.layers[1].kv_heads.push_back(head);
  }
  const std::string text = profile_summary(profile);
  EXPECT_NE(text.find("1 x 8 rows, heads shared; 1 x dense"), std::string::npos) << text;
  EXPECT_NE(text.find("all    62.5 %   75.0 %         as chosen"), std::string::npos) << text;
  EXPECT_NE(text.find("all    25.0 %   125.0 %        8 rows, heads shared"), std::string::npos)
      << text;
  EXPECT_EQ(profile_summary(Profile()), "");
}

}  // namespace
}  // namespace shadowattn::tool
