// The engine with a part of the tokens: exactly the right ones, whatever the machine.
#include <gtest/gtest.h>

#include "engine_problem.h"
#include "kernel_param.h"
#include "selection_reference.h"

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

using Kept = std::vector<std::vector<std::set<int64_t>>>;  // [head][row]

/// What the engine attends to, seen through values that are one-hot: key j has a 1 in channel j and
/// the output is its weight, positive if and only if the key was kept.
Kept kept_keys(Engine& engine, const Problem& p) {
  constexpr int64_t kChannels = 256;
  const Shape& s = p.shape;
  Kept kept(static_cast<size_t>(s.heads),
            std::vector<std::set<int64_t>>(static_cast<size_t>(s.rows)));
  for (int64_t first = 0; first < s.keys; first += kChannels) {
    test::Tensor value(kF32, s.kv_heads, s.keys, kChannels);
    value.for_each([&](int64_t, int64_t j, int64_t d) { return j == first + d ? 1.0 : 0.0; });
    test::Tensor output(kF32, s.heads, s.rows, kChannels);
    AttentionCall call = p.call;
    call.value = value.view();
    call.output = output.output();
    const Status status = engine.attend(call);
    EXPECT_TRUE(status.ok()) << status.message();
    for (int64_t h = 0; h < s.heads; ++h) {
      for (int64_t i = 0; i < s.rows; ++i) {
        for (int64_t d = 0; d < std::min(kChannels, s.keys - first); ++d) {
          if (call.output.row(h, i)[d] == 0.0F) continue;
          kept[static_cast<size_t>(h)][static_cast<size_t>(i)].insert(first + d);
        }
      }
    }
  }
  return kept;
}

Kept expected_keys(const Problem& p, const EngineOptions& options) {
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(p.call, *executor);
  return test::reference_selection(
      p.call, options, plan_call(options, visibility, p.shape.heads / p.shape.kv_heads));
}

int64_t count(const Kept& kept) {
  size_t sum = 0;
  for (const auto& rows : kept) {
    for (const auto& keys : rows) sum += keys.size();
  }
  return static_cast<int64_t>(sum);
}

void expect_equal(const Kept& got, const Kept& expected) {
  for (size_t h = 0; h < expected.size(); ++h) {
    for (size_t i = 0; i < expected[h].size(); ++i) {
      ASSERT_EQ(got[h][i], expected[h][i]) << "head " << h << " row " << i;
    }
  }
}

struct ShadowCase {
  std::string label;
  Shape shape;
  void (*prepare)(Problem& p) = [](Problem&) {};
  EngineOptions options = {.keep = 0.2, .keep_floor = 0, .sink = 2, .recent = 5};
  bool prompt = false;  ///< short rows come first: their tiles may be dense
};

void causal(Problem& p) { p.set_causal(p.shape.keys - p.shape.rows); }

std::vector<ShadowCase> shadow_cases() {
  const Shape shape = {4, 2, 13, 200, 32, 48, kF16};
  Shape peaky = shape;
  peaky.content = Content::kPeaky;
  Shape outliers = {2, 1, 9, 150, 80, 32, kF32, Layout::kGaps, Content::kOutliers};
  Shape prompt = {2, 1, 120, 120, 64, 32, kF16, Layout::kRowsFirst, Content::kPeaky};
  return {
      {"no_mask", shape},
      {"causal", shape, causal},
      {"causal_peaky", peaky, causal},
      {"causal_outliers_gaps_f32", outliers, causal},
      {"whole_prompt",
       prompt,
       [](Problem& p) { p.set_causal(0); },
       {.keep = 0.2, .keep_floor = 0, .sink = 2, .recent = 5},
       true},
      {"whole_prompt_with_floor",
       prompt,
       [](Problem& p) { p.set_causal(0); },
       {.keep = 0.1, .keep_floor = 40, .sink = 1, .recent = 3},
       true},
      {"rows_before_the_keys",
       {4, 2, 60, 80, 32, 48, kF16},
       [](Problem& p) { p.set_causal(-5); },
       {.keep = 0.2, .keep_floor = 0, .sink = 2, .recent = 5},
       true},
      {"one_row", {7, 1, 1, 500, 64, 64, kF16}, causal},
      {"longer_than_a_block_of_channels", {2, 1, 4, 700, 16, 16, kF16}, causal},
      {"misaligned", {2, 2, 6, 99, 48, 16, kF16, Layout::kMisaligned}, causal},
      {"reversed", {2, 2, 6, 99, 48, 16, kF32, Layout::kReversed}, causal},
      {"nothing_forced", shape, causal, {.keep = 0.05, .keep_floor = 0, .sink = 0, .recent = 0}},
      {"one_token",
       shape,
       [](Problem&) {},
       {.keep = 1e-9, .keep_floor = 0, .sink = 0, .recent = 0}},
      {"more_forced_than_kept",
       shape,
       causal,
       {.keep = 0.01, .keep_floor = 0, .sink = 20, .recent = 30}},
      {"forced_beyond_all",
       shape,
       causal,
       {.keep = 0.5, .keep_floor = 0, .sink = 1 << 30, .recent = 1 << 30}},
      {"half", shape, causal, {.keep = 0.5, .keep_floor = 0, .sink = 4, .recent = 16}},
      {"almost_all", shape, causal, {.keep = 0.99, .keep_floor = 0, .sink = 4, .recent = 16}},
      {"causal_as_mask", shape,
       [](Problem& p) {
         p.set_mask(
             [](int64_t, int64_t i, int64_t j) { return j <= i + 187 ? 0.0 : -test::kInfinity; });
       }},
      {"sliding_window", shape,
       [](Problem& p) {
         p.set_mask([](int64_t, int64_t i, int64_t j) {
           return j <= i + 180 && j > i + 90 ? 0.0 : -test::kInfinity;
         });
       }},
      {"random_mask", shape,
       [](Problem& p) {
         test::Random random(5);
         p.set_mask([&](int64_t, int64_t, int64_t) {
           return random.chance(0.4) ? -test::kInfinity : 0.0;
         });
       }},
      {"random_mask_per_head", shape,
       [](Problem& p) {
         test::Random random(6);
         p.set_mask(
             [&](int64_t, int64_t, int64_t) {
               return random.chance(0.4) ? -test::kInfinity : 0.25 * random.normal();
             },
             4, kF32);
       }},
      {"rows_that_see_nothing", shape,
       [](Problem& p) {
         p.set_mask([](int64_t, int64_t i, int64_t j) {
           return i % 4 == 1 || j % 3 == 0 ? -test::kInfinity : 0.0;
         });
       }},
      {"two_sequences", shape, test::set_interleaved},
      {"shifted_context", shape, [](Problem& p) { test::set_shifted(p, 80); }},
      {"shifted_context_in_a_window", shape, [](Problem& p) { test::set_shifted(p, 80, 70); }},
      {"alibi", shape, [](Problem& p) { p.set_alibi(187); }},
      {"scale_negative", shape,
       [](Problem& p) {
         causal(p);
         p.call.scale = -p.call.scale;
       }},
      {"scale_zero", shape,
       [](Problem& p) {
         causal(p);
         p.call.scale = 0.0F;
       }},
      {"equal_keys", shape,
       [](Problem& p) {
         causal(p);
         p.key.fill(0.5);
       }},
      {"zero_queries_and_keys", shape,
       [](Problem& p) {
         causal(p);
         p.query.fill_row(0, 3, 0.0);
         p.query.fill_row(1, 3, 0.0);
         for (int64_t j = 0; j < 200; j += 2) p.key.fill_row(0, j, 0.0);
       }},
      {"tiny_and_huge_rows",
       {2, 1, 9, 150, 32, 32, kF32},
       [](Problem& p) {
         causal(p);
         p.query.fill_row(0, 2, 1e-35);
         p.query.fill_row(1, 2, 1e12);
         p.key.fill_row(0, 7, 1e-20);
         p.key.fill_row(0, 9, -1e-12);
         p.call.scale = 1e-13F;
       }},
  };
}

/// Row i sees `length` keys; the last row's last is `behind` keys from the end.
void set_window(Problem& p, int64_t length, int64_t behind) {
  const int64_t last = p.shape.keys - p.shape.rows - behind;
  p.set_mask([=](int64_t, int64_t i, int64_t j) {
    return j <= i + last && j > i + last - length ? 0.0 : -test::kInfinity;
  });
}

/// Contexts of more than KeySample::kWholeBlocks blocks, whose levels come from a sample.
std::vector<ShadowCase> long_cases() {
  Shape peaky = {2, 1, 10, 1700, 16, 16, kF16, Layout::kRowsFirst, Content::kPeaky};
  return {
      {"long_no_mask", {2, 1, 9, 1301, 32, 16, kF16}},
      {"long_causal", {4, 2, 9, 2100, 16, 16, kF16}, causal},
      {"long_causal_peaky", peaky, causal},
      // One block more than what is sampled whole, and one block less; odd ends.
      {"long_65_blocks", {2, 1, 5, 1025, 16, 16}, causal},
      {"long_64_blocks", {2, 1, 5, 1024, 16, 16}, causal},
      {"long_window", {2, 1, 20, 1700, 16, 16, kF16}, [](Problem& p) { set_window(p, 1333, 7); }},
      {"long_context_short_window",
       {2, 1, 20, 1700, 16, 16, kF16},
       [](Problem& p) { set_window(p, 90, 301); }},
      // The heads of a list see different keys: one the end, one the middle, one next to nothing,
      // which no sample meets, one nothing at all.
      {"long_plain_ranges_per_head",
       {4, 1, 9, 1600, 16, 16, kF32},
       [](Problem& p) {
         p.set_mask(
             [](int64_t h, int64_t i, int64_t j) {
               const int64_t begin[] = {i, 205, 515, 1600};
               const int64_t end[] = {1500 + i, 1100 + i, 531, 1600};
               return j >= begin[h] && j < end[h] ? 0.0 : -test::kInfinity;
             },
             4);
       }},
      {"long_scale_negative", peaky,
       [](Problem& p) {
         causal(p);
         p.call.scale = -p.call.scale;
       }},
      {"long_scale_zero", peaky,
       [](Problem& p) {
         causal(p);
         p.call.scale = 0.0F;
       }},
      {"long_random_mask",
       {2, 1, 9, 1301, 16, 16, kF16},
       [](Problem& p) {
         test::Random random(5);
         p.set_mask([&](int64_t, int64_t, int64_t) {
           return random.chance(0.4) ? -test::kInfinity : 0.0;
         });
       }},
  };
}

using test::Granularity;
using test::kGranularities;

using Param = test::KernelParam<Variant, ShadowCase>;

std::vector<Param> params() {
  std::vector<ShadowCase> all = shadow_cases();
  const std::vector<ShadowCase> more = long_cases();
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
