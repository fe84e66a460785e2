// What is read off a mask, against the mask itself, key by key.
#include "plan/visibility.h"

#include <gtest/gtest.h>

#include "engine_problem.h"
#include "mask_case.h"
#include "selection_reference.h"

namespace shadowattn {
namespace {

using test::Layout;
using test::MaskCase;
using test::Problem;

std::vector<MaskCase> mask_cases() {
  return {
      {"none", [](Problem&) {}},
      {"causal", [](Problem& p) { p.set_causal(80); }},
      {"causal_partly_before", [](Problem& p) { p.set_causal(-7); }},
      {"causal_partly_beyond", [](Problem& p) { p.set_causal(95); }},
      {"causal_as_f32",
       [](Problem& p) {
         p.set_mask(
             [](int64_t, int64_t i, int64_t j) { return j <= i + 80 ? 0.0 : -test::kInfinity; }, 1,
             ElementType::kF32, Layout::kGaps);
       }},
      {"window",
       [](Problem& p) {
         p.set_mask([](int64_t, int64_t i, int64_t j) {
           return j <= i + 80 && j > i + 50 ? 0.0 : -test::kInfinity;
         });
       }},
      {"all_hidden",
       [](Problem& p) { p.set_mask([](int64_t, int64_t, int64_t) { return -test::kInfinity; }); }},
      {"all_visible",
       [](Problem& p) { p.set_mask([](int64_t, int64_t, int64_t) { return 0.0; }); }},
      {"first_key_only",
       [](Problem& p) {
         p.set_mask([](int64_t, int64_t, int64_t j) { return j == 0 ? 0.0 : -test::kInfinity; });
       }},
      {"last_key_only",
       [](Problem& p) {
         p.set_mask([](int64_t, int64_t, int64_t j) { return j == 99 ? 0.0 : -test::kInfinity; });
       }},
      {"random",
       [](Problem& p) {
         test::Random random(1);
         p.set_mask([&](int64_t, int64_t, int64_t) {
           return random.chance(0.5) ? -test::kInfinity : 0.0;
         });
       }},
      {"random_bias_per_head",
       [](Problem& p) {
         test::Random random(2);
         p.set_mask(
             [&](int64_t, int64_t, int64_t) {
               return random.chance(0.5) ? -test::kInfinity : random.normal();
             },
             4, ElementType::kF16, Layout::kMisaligned);
       }},
      {"negative_zero_is_no_bias",
       [](Problem& p) { p.set_mask([](int64_t, int64_t, int64_t) { return -0.0; }); }},
      {"nan_and_plus_infinity_are_visible",
       [](Problem& p) {
         p.set_mask([](int64_t, int64_t i, int64_t j) {
           return j > i ? -test::kInfinity : j % 2 == 0 ? test::kNan : test::kInfinity;
         });
       }},
      {"lowest_finite_half_is_visible",
       [](Problem& p) { p.set_mask([](int64_t, int64_t, int64_t) { return -65504.0; }); }},
      {"interleaved", test::set_interleaved},
      {"shifted", [](Problem& p) { test::set_shifted(p, 40); }},
      {"shifted_window", [](Problem& p) { test::set_shifted(p, 40, 30); }},
      {"alibi", [](Problem& p) { p.set_alibi(80); }},
  };
}

class VisibilityTest : public testing::TestWithParam<MaskCase> {
 protected:
  VisibilityTest() : problem_({4, 2, 17, 100, 16, 16}) { GetParam().prepare(problem_); }

  const AttentionCall& call() const { return problem_.call; }

  Problem problem_;
  std::unique_ptr<Executor> executor_ = make_thread_pool(2);
};

TEST_P(VisibilityTest, RowsMatchTheMask) {
  const Visibility visibility(call(), *executor_);
  int64_t first = std::numeric_limits<int64_t>::max();
  int64_t last = 0;
  int64_t most = 0;
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t i = 0; i < 17; ++i) {
      const RowVisibility& row = visibility.row(h, i);
      int64_t visible = 0;
      int64_t begin = 0;
      int64_t end = 0;
      bool biased = false;
      for (int64_t j = 0; j < 100; ++j) {
        const double bias = test::reference_bias(call(), h, i, j);
        const bool seen = bias != -test::kInfinity;
        ASSERT_EQ(visibility.sees(h, i, j), seen) << h << " " << i << " " << j;
        if (!seen) continue;
        if (visible++ == 0) begin = j;
        end = j + 1;
        biased = biased || bias != 0.0;
      }
      EXPECT_EQ(row.visible, visible);
      if (visible == 0) {
        EXPECT_EQ(row.begin, row.end);
        continue;
      }
      // Causal rows begin at 0, others at the first visible key.
      EXPECT_EQ(row.begin, begin);
      EXPECT_EQ(row.end, end);
      EXPECT_EQ(row.plain, !biased && visible == end - begin);
      first = std::min(first, begin);
      last = std::max(last, end);
      most = std::max(most, visible);
    }
  }
  EXPECT_EQ(visibility.begin(), most == 0 ? 0 : first);
  EXPECT_EQ(visibility.end(), last);
  EXPECT_EQ(visibility.max_visible(), most);
  EXPECT_EQ(visibility.query_rows(), 17);
}

TEST_P(VisibilityTest, BiasIsTheMaskTimesTheSlope) {
  const Visibility visibility(call(), *executor_);
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t i = 0; i < 17; ++i) {
      for (int64_t j = 0; j < 100; ++j) {
        const double expected = test::reference_bias(call(), h, i, j);
        const float got = visibility.bias(h, i, j);
        if (std::isnan(expected)) {
          EXPECT_TRUE(std::isnan(got));
        } else {
          EXPECT_EQ(got, static_cast<float>(expected));
        }
      }
    }
  }
}

TEST_P(VisibilityTest, OwnTokenFollowsTheRule) {
  const Visibility visibility(call(), *executor_);
  const EngineOptions options;
  const test::SelectionReference reference(call(), options);
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t i = 0; i < 17; ++i) {
      EXPECT_EQ(visibility.row(h, i).own, reference.own({h, i})) << h << " " << i;
    }
  }
}

TEST_P(VisibilityTest, WordsMatchTheMask) {
  const Visibility visibility(call(), *executor_);
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t i = 0; i < 17; ++i) {
      for (int64_t first = -70; first < 110; ++first) {
        uint64_t expected = 0;
        for (int64_t bit = 0; bit < kWordKeys; ++bit) {
          const int64_t j = first + bit;
          const bool seen = j >= 0 && j < 100 && test::reference_sees(call(), h, i, j);
          expected |= uint64_t{seen} << bit;
        }
        ASSERT_EQ(visibility.seen(h, i, first), expected) << h << " " << i << " " << first;
      }
    }
  }
}

TEST_P(VisibilityTest, MaskValuesGiveTheBias) {
  const Visibility visibility(call(), *executor_);
  bool biased = false;
  std::vector<int32_t> every_third;
  for (int32_t j = 1; j < 100; j += 3) every_third.push_back(j);
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t i = 0; i < 17; ++i) {
      if (!visibility.row(h, i).biased) continue;
      biased = true;
      std::vector<float> run(60);
      std::vector<float> picked(every_third.size());
      visibility.mask_values(h, i, nullptr, 40, 60, run.data());
      visibility.mask_values(h, i, every_third.data(), 0, std::ssize(picked), picked.data());
      const auto check = [&](float value, int64_t j) {
        if (!visibility.sees(h, i, j)) return;
        const auto expected = static_cast<float>(test::reference_bias(call(), h, i, j));
        const float got = Visibility::scaled_bias(value, visibility.slope(h));
        EXPECT_TRUE(got == expected || (std::isnan(got) && std::isnan(expected))) << h << i << j;
      };
      for (int64_t j = 0; j < 60; ++j) check(run[static_cast<size_t>(j)], 40 + j);
      for (size_t j = 0; j < picked.size(); ++j) check(picked[j], every_third[j]);
    }
  }
  EXPECT_EQ(visibility.any_biased(), biased);
}

TEST_P(VisibilityTest, AllPlainSaysWhetherAnyRowIsNot) {
  const Visibility visibility(call(), *executor_);
  bool all = true;
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t i = 0; i < 17; ++i) {
      const RowVisibility& row = visibility.row(h, i);
      all = all && (row.visible == 0 || row.plain);
    }
  }
  EXPECT_EQ(visibility.all_plain(), all);
}

TEST_P(VisibilityTest, SameForIsNeverWrong) {
  const Visibility visibility(call(), *executor_);
  for (int64_t a = 0; a < 4; ++a) {
    for (int64_t b = 0; b < 4; ++b) {
      bool equal = true;
      for (int64_t i = 0; i < 17; ++i) {
        for (int64_t j = 0; j < 100; ++j) {
          const double x = test::reference_bias(call(), a, i, j);
          const double y = test::reference_bias(call(), b, i, j);
          equal = equal && (x == y || (std::isnan(x) && std::isnan(y)));
        }
      }
      EXPECT_TRUE(equal || !visibility.same_for(a, b)) << a << " " << b;
      // One mask for all heads without slopes: there it pays to know.
      const Mask& mask = call().mask;
      const bool shared =
          mask.kind != MaskKind::kAdditive || (mask.additive.heads == 1 && mask.slopes == nullptr);
      EXPECT_TRUE(!shared || visibility.same_for(a, b));
    }
  }
}

TEST_P(VisibilityTest, ThreadsDoNotMatter) {
  const Visibility two(call(), *executor_);
  const std::unique_ptr<Executor> serial = make_thread_pool(1);
  const Visibility one(call(), *serial);
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t i = 0; i < 17; ++i) {
      EXPECT_EQ(one.row(h, i).own, two.row(h, i).own);
      EXPECT_EQ(one.row(h, i).continues, two.row(h, i).continues);
      EXPECT_EQ(one.row(h, i).visible, two.row(h, i).visible);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Masks, VisibilityTest, testing::ValuesIn(mask_cases()), test::mask_label);

// --- Sequences
// ------------------------------------------------------------------------------------

std::vector<int64_t> rows_that_continue(const Problem& p) {
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(p.call, *executor);
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < p.shape.rows; ++i) {
    if (visibility.row(0, i).continues) rows.push_back(i);
  }
  return rows;
}

TEST(VisibilitySequenceTest, OneSequenceContinuesThroughout) {
  for (const int64_t window : {int64_t{1} << 40, int64_t{20}}) {
    Problem p({1, 1, 6, 100, 16, 16});
    test::set_shifted(p, 94, window);
    EXPECT_EQ(rows_that_continue(p), (std::vector<int64_t>{1, 2, 3, 4, 5})) << window;
    test::set_shifted(p, 30, window);
    EXPECT_EQ(rows_that_continue(p), (std::vector<int64_t>{1, 2, 3, 4, 5})) << window;
  }
}

TEST(VisibilitySequenceTest, AnotherSequenceDoesNotContinue) {
  Problem p({1, 1, 8, 100, 16, 16});
  test::set_interleaved(p);
  EXPECT_EQ(rows_that_continue(p), (std::vector<int64_t>{1, 2, 3, 5, 6, 7}));
}

TEST(VisibilitySequenceTest, OneTokenOfEachOfManySequences) {
  // llama-parallel while generating: neighbouring rows have nothing in common.
  Problem p({1, 1, 5, 100, 16, 16});
  std::vector<test::Token> cells;
  for (int j = 0; j < 100; ++j) cells.push_back({j % 5, j / 5});
  std::vector<test::Token> rows;
  for (int i = 0; i < 5; ++i) rows.push_back({i, 19});
  p.set_cells(cells, rows);
  EXPECT_TRUE(rows_that_continue(p).empty());
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(p.call, *executor);
  for (int64_t i = 0; i < 5; ++i) EXPECT_EQ(visibility.row(0, i).own, 95 + i);
}

TEST(VisibilitySequenceTest, OwnTokenInAHole) {
  Problem p({1, 1, 6, 100, 16, 16});
  for (const int64_t window : {int64_t{1} << 40, int64_t{20}}) {
    test::set_shifted(p, 30, window);
    const std::unique_ptr<Executor> executor = make_thread_pool(1);
    const Visibility visibility(p.call, *executor);
    for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(visibility.row(0, i).own, 30 + i) << window;
  }
}

}  // namespace
}  // namespace shadowattn
