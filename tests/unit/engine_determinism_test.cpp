// The same bits whatever the threads, the executor and the calls before.
#include <gtest/gtest.h>

#include "engine_problem.h"
#include "kernel_param.h"

namespace shadowattn {
namespace {

using test::attend;
using test::Content;
using test::Granularity;
using test::kGranularities;
using test::Layout;
using test::make_engine;
using test::Problem;

constexpr ElementType kF16 = ElementType::kF16;
constexpr ElementType kF32 = ElementType::kF32;

void causal(Problem& p) { p.set_causal(p.shape.keys - p.shape.rows); }

// ------------------------------------------------------------------------------------

class EngineDeterminismTest : public testing::TestWithParam<test::Variant> {};

TEST_P(EngineDeterminismTest, SameBitsForAnyThreadsAndAgain) {
  for (const Mode mode : {Mode::kDense, Mode::kShadow}) {
    for (const Granularity& g : kGranularities) {
      Problem p({6, 2, 70, 333, 64, 80, kF16, Layout::kRowsFirst, Content::kPeaky});
      causal(p);
      EngineOptions options = GetParam().with({.mode = mode,
                                               .keep = 0.2,
                                               .keep_floor = 32,
                                               .rows_per_list = g.rows,
                                               .share_heads = g.share});
      Engine first = make_engine(options);
      const CallReport expected_report = attend(first, p);
      const std::vector<uint32_t> expected = test::bits(p);
      for (const int threads : {1, 2, 5}) {
        options.threads = threads;
        Engine engine = make_engine(options);
        for (int repeat = 0; repeat < 3; ++repeat) {
          const CallReport report = attend(engine, p);
          ASSERT_EQ(test::bits(p), expected) << threads << " threads, call " << repeat;
          EXPECT_EQ(report.kept_pairs, expected_report.kept_pairs);
          EXPECT_EQ(report.lists, expected_report.lists);
        }
      }
    }
  }
}

TEST_P(EngineDeterminismTest, EarlierCallsLeaveNoTrace) {
  // Scratch memory is reused: other shapes in between must not matter.
  EngineOptions options = GetParam().with({.keep = 0.2, .keep_floor = 0});
  Problem p({4, 2, 9, 100, 48, 32, kF16});
  causal(p);
  Engine fresh = make_engine(options);
  attend(fresh, p);
  const std::vector<uint32_t> expected = test::bits(p);
  Engine used = make_engine(options);
  Problem larger({8, 2, 33, 500, 128, 256, kF32, Layout::kDense, Content::kOutliers, 9});
  test::set_interleaved(larger);
  Problem nans({2, 1, 9, 200, 48, 32});
  nans.query.fill(test::kNan);
  nans.value.fill(test::kInfinity);
  attend(used, larger);
  attend(used, nans);
  attend(used, p);
  EXPECT_EQ(test::bits(p), expected);
}

TEST_P(EngineDeterminismTest, AnyExecutorGivesTheSame) {
  // One that runs tasks backwards on a "thread" of its choice.
  class Backwards final : public Executor {
   public:
    int threads() const override { return 3; }
    void run(int64_t count, const std::function<void(int64_t, int)>& task) override {
      for (int64_t i = count - 1; i >= 0; --i) task(i, static_cast<int>(i % 3));
    }
  };
  const EngineOptions options = GetParam().with({.keep = 0.2, .keep_floor = 0});
  Problem p({4, 2, 40, 300, 64, 64, kF16});
  causal(p);
  Engine own = make_engine(options);
  attend(own, p);
  const std::vector<uint32_t> expected = test::bits(p);
  Backwards executor;
  Engine borrowed = make_engine(options, &executor);
  attend(borrowed, p);
  EXPECT_EQ(test::bits(p), expected);
}

INSTANTIATE_TEST_SUITE_P(Variants, EngineDeterminismTest, testing::ValuesIn(test::variants_here()),
                         test::kernel_name<test::Variant>);

}  // namespace
}  // namespace shadowattn
