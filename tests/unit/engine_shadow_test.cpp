// The engine with a part of the tokens: exactly the right ones, whatever the machine.
#include <gtest/gtest.h>

#include "engine_problem.h"
#include "kept_keys.h"
#include "kernel_param.h"
#include "selection_reference.h"
#include "shadow_cases.h"

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
constexpr ElementType kF32 = ElementType::kF32;

using test::causal;
using test::count;
using test::expect_equal;
using test::Kept;
using test::kept_keys;
using test::ShadowCase;

Kept expected_keys(const Problem& p, const EngineOptions& options) {
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(p.call, *executor);
  return test::reference_selection(
      p.call, options,
      plan_call(test::fixed_keep(options), visibility, p.shape.heads / p.shape.kv_heads));
}

using test::Granularity;
using test::kGranularities;

using Param = test::KernelParam<Variant, ShadowCase>;

std::vector<Param> params() {
  std::vector<ShadowCase> all = test::shadow_cases();
  const std::vector<ShadowCase> more = test::long_cases();
  all.insert(all.end(), more.begin(), more.end());
  std::vector<ShadowCase> cases;
  for (const ShadowCase& c : all) {
    for (const Granularity& g : kGranularities) {
      ShadowCase refined = c;
      refined.label += std::string("_") + g.label;
      refined.options.rows_per_list = g.rows;
      refined.options.share_heads = g.share;
      cases.push_back(refined);
    }
  }
  return test::cross(test::variants_here(), cases);
}

class EngineShadowTest : public testing::TestWithParam<Param> {};

TEST_P(EngineShadowTest, KeepsTheRightKeysAndAttendsToThem) {
  const Variant& variant = GetParam().kernel;
  Problem p(GetParam().data.shape);
  GetParam().data.prepare(p);
  EngineOptions options = variant.with(GetParam().data.options);
  options.threads = 2;
  const Kept expected = expected_keys(p, options);
  Engine engine = make_engine(options);
  expect_equal(kept_keys(engine, p), expected);

  const CallReport report = attend(engine, p);
  EXPECT_EQ(report.dense_reason, DenseReason::kNone);
  EXPECT_EQ(report.visible_pairs, test::visible_pairs(p));
  EXPECT_EQ(report.kept_pairs, count(expected));
  EXPECT_GT(report.lists, 0);
  // The first tiles of a prompt may be dense.
  const int64_t group = p.shape.heads / p.shape.kv_heads;
  const int64_t list_rows = std::min<int64_t>(p.shape.rows, options.rows_per_list);
  const bool dense_tiles = GetParam().data.prompt;
  const int64_t most_rows =
      dense_tiles ? p.shape.rows * group : list_rows * (options.share_heads ? group : 1);
  test::expect_reference(p, variant.of_lists(most_rows), [&](int64_t h, int64_t i, int64_t j) {
    return expected[static_cast<size_t>(h)][static_cast<size_t>(i)].count(j) != 0;
  });
}

INSTANTIATE_TEST_SUITE_P(Masks, EngineShadowTest, testing::ValuesIn(params()),
                         test::param_label<Param>);

// --- What must hold by the definition, whatever the scores
// -----------------------------------------

Kept kept_of(const Problem& p, EngineOptions options) {
  Engine engine = make_engine(options);
  return kept_keys(engine, p);
}

TEST(EngineShadowRules, OneRowPerListKeepsExactlyTheCount) {
  Problem p({4, 2, 11, 300, 32, 32, kF16});
  causal(p);
  const Kept kept = kept_of(p, {.keep = 0.1,
                                .keep_floor = 0,
                                .sink = 2,
                                .recent = 8,
                                .rows_per_list = 1,
                                .share_heads = false});
  for (const auto& rows : kept) {
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(rows[i].size(), static_cast<size_t>(std::ceil((290.0 + double(i)) / 10 - 1e-9)));
    }
  }
}

TEST(EngineShadowRules, SinkRecentAndOwnAreAlwaysIn) {
  for (const Granularity& g : kGranularities) {
    for (const bool shifted : {false, true}) {
      Problem p({4, 2, 11, 300, 32, 32, kF16});
      if (shifted) {
        test::set_shifted(p, 100);
      } else {
        causal(p);
      }
      const Kept kept = kept_of(p, {.keep = 0.001,
                                    .keep_floor = 0,
                                    .sink = 3,
                                    .recent = 4,
                                    .rows_per_list = g.rows,
                                    .share_heads = g.share});
      for (const auto& rows : kept) {
        for (size_t i = 0; i < rows.size(); ++i) {
          const int64_t own = (shifted ? 100 : 289) + static_cast<int64_t>(i);
          for (const int64_t key : {int64_t{0}, int64_t{1}, int64_t{2}, own - 3, own}) {
            EXPECT_EQ(rows[i].count(key), 1U) << g.label << " row " << i << " key " << key;
          }
          // A shared list also holds the tokens of the other rows, but none of their future.
          if (!shifted) {
            EXPECT_LE(*rows[i].rbegin(), own);
          }
        }
      }
    }
  }
}

TEST(EngineShadowRules, SequencesNeverMix) {
  Problem p({2, 1, 16, 200, 32, 32, kF16});
  test::set_interleaved(p);
  const Kept kept = kept_of(p, {.keep = 0.1, .keep_floor = 0, .sink = 2, .recent = 2});
  for (const auto& rows : kept) {
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_FALSE(rows[i].empty());
      for (const int64_t key : rows[i]) EXPECT_EQ(key % 2, i < 8 ? 0 : 1) << "row " << i;
    }
  }
}

TEST(EngineShadowRules, FindsTheKeyThatAnswers) {
  // One key points exactly where the query does, the others away: it must be kept at any depth.
  for (const Granularity& g : kGranularities) {
    for (const int64_t depth : {0, 1, 40, 63, 64, 128, 250}) {
      Problem p({2, 1, 8, 300, 64, 32, kF16});
      causal(p);
      for (int64_t h = 0; h < 2; ++h) {
        for (int64_t i = 0; i < 8; ++i) {
          for (int64_t d = 0; d < 64; ++d) p.query.set(h, i, d, d % 2 == 0 ? 1.0 : -1.0);
        }
      }
      for (int64_t d = 0; d < 64; ++d) p.key.set(0, depth, d, d % 2 == 0 ? 1.0 : -1.0);
      const Kept kept = kept_of(p, {.keep = 0.05,
                                    .keep_floor = 0,
                                    .sink = 0,
                                    .recent = 1,
                                    .rows_per_list = g.rows,
                                    .share_heads = g.share});
      for (const auto& rows : kept) {
        for (const auto& keys : rows) EXPECT_EQ(keys.count(depth), 1U) << g.label << " " << depth;
      }
    }
  }
}

TEST(EngineShadowRules, EveryVariantKeepsTheSame) {
  for (const Granularity& g : kGranularities) {
    for (const bool shifted : {true, false}) {  // by the scores of every row, by ranks
      Problem p({6, 2, 17, 1400, 64, 32, kF16, Layout::kRowsFirst, Content::kOutliers});
      p.call.scale /= 8;  // so that no weight is too small to be seen
      if (shifted) {
        test::set_shifted(p, 111);
      } else {
        causal(p);
      }
      const EngineOptions options = {
          .keep = 0.15, .keep_floor = 0, .rows_per_list = g.rows, .share_heads = g.share};
      EngineOptions scalar = options;
      scalar.isa = "scalar";
      const Kept expected = kept_of(p, scalar);
      for (const Variant& variant : test::variants_here()) {
        SCOPED_TRACE(variant.name + " " + g.label);
        expect_equal(kept_of(p, variant.with(options)), expected);
      }
    }
  }
}

}  // namespace
}  // namespace shadowattn
