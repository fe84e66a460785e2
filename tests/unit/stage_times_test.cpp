// Costs learnt from observations: what they converge to, and what they shrug off.
#include "device/stage_times.h"

#include <gtest/gtest.h>

#include <cmath>

#include "random_tensor.h"

namespace shadowattn {
namespace {

using test::Random;

constexpr double kOverhead = 50'000.0;
constexpr double kMacNs = 1e-3;

GraphSpec graph(int32_t heads, int32_t keys) {
  return {.heads = heads, .rows = 64, .keys = keys, .dim = 128};
}

double true_ns(const GraphSpec& spec) {
  return kOverhead + kMacNs * spec.heads * spec.rows * static_cast<double>(spec.keys) * spec.dim;
}

void observe(StageTimes& times, const GraphSpec& spec, double factor = 1.0) {
  times.observe_launch(spec, std::llround(true_ns(spec) * factor));
}

void expect_close(const StageTimes& times, const GraphSpec& spec, double tolerance) {
  EXPECT_NEAR(times.device_ns(spec) / true_ns(spec), 1.0, tolerance)
      << spec.heads << " heads, " << spec.keys << " keys";
}

TEST(StageTimesTest, TellsOverheadFromWork) {
  StageTimes times;
  for (int i = 0; i < 20; ++i) {
    for (const int32_t keys : {64, 512, 4096}) observe(times, graph(1 + i % 3, keys));
  }
  for (const int32_t keys : {64, 128, 1024, 4096, 16384}) {
    for (const int32_t heads : {1, 4, 8}) expect_close(times, graph(heads, keys), 0.01);
  }
}

TEST(StageTimesTest, TwoNearbySizesWillDo) {
  SmoothedLine line;
  for (int i = 0; i < 100; ++i) {
    line.observe(1000.0, 100.0 + 1000.0);
    line.observe(1500.0, 100.0 + 1500.0);
  }
  EXPECT_NEAR(line.overhead(), 100.0, 5.0);
  EXPECT_NEAR(line.rate(), 1.0, 0.01);
}

TEST(StageTimesTest, NoiseAveragesOut) {
  Random random(4);
  StageTimes times;
  for (int i = 0; i < 300; ++i) {
    const GraphSpec spec = graph(1, static_cast<int32_t>(64 * random.integer(1, 64)));
    observe(times, spec, 1.0 + 0.1 * random.normal());
  }
  for (const int32_t keys : {256, 1024, 4096}) expect_close(times, graph(1, keys), 0.15);
}

TEST(StageTimesTest, OneSizeIsPredictedAndOthersStayInOrder) {
  StageTimes times;
  for (int i = 0; i < 10; ++i) observe(times, graph(1, 1024));
  expect_close(times, graph(1, 1024), 1e-3);
  EXPECT_LT(times.device_ns(graph(1, 512)), times.device_ns(graph(1, 1024)));
  EXPECT_GT(times.device_ns(graph(1, 512)), 0.0);
  EXPECT_GT(times.device_ns(graph(2, 1024)), times.device_ns(graph(1, 1024)));
}

TEST(StageTimesTest, KeepsTheSplitWhileAllWorkIsOfOneSize) {
  StageTimes times;
  for (int i = 0; i < 20; ++i) {
    observe(times, graph(1, 64));
    observe(times, graph(1, 4096));
  }
  for (int i = 0; i < 1000; ++i) observe(times, graph(1, 1024));
  for (const int32_t keys : {64, 1024, 4096}) expect_close(times, graph(1, keys), 0.1);
}

TEST(StageTimesTest, AnOutlierMovesLittle) {
  StageTimes times;
  for (int i = 0; i < 40; ++i) {
    for (const int32_t keys : {64, 512, 4096}) observe(times, graph(1, keys));
  }
  observe(times, graph(1, 4096), 1000.0);
  for (const int32_t keys : {512, 4096}) expect_close(times, graph(1, keys), 0.4);
  observe(times, graph(1, 4096), 0.001);
  for (int i = 0; i < 60; ++i) {
    for (const int32_t keys : {64, 512, 4096}) observe(times, graph(1, keys));
  }
  for (const int32_t keys : {64, 512, 4096}) expect_close(times, graph(1, keys), 0.05);
}

TEST(StageTimesTest, AFirstLaunchThatWarmsUpIsForgotten) {
  StageTimes times;
  observe(times, graph(1, 512), 100.0);
  for (int i = 0; i < 60; ++i) {
    for (const int32_t keys : {64, 512, 4096}) observe(times, graph(1, keys));
  }
  for (const int32_t keys : {64, 512, 4096}) expect_close(times, graph(1, keys), 0.05);
}

TEST(StageTimesTest, FollowsALastingChange) {
  for (const double factor : {20.0, 0.05}) {
    StageTimes times;
    for (int i = 0; i < 40; ++i) {
      for (const int32_t keys : {64, 512, 4096}) observe(times, graph(1, keys));
    }
    for (int i = 0; i < 100; ++i) {
      for (const int32_t keys : {64, 512, 4096}) observe(times, graph(1, keys), factor);
    }
    for (const int32_t keys : {64, 512, 4096}) {
      EXPECT_NEAR(times.device_ns(graph(1, keys)) / (factor * true_ns(graph(1, keys))), 1.0, 0.1);
    }
  }
}

TEST(StageTimesTest, NeverNegativeWhateverIsObserved) {
  Random random(5);
  for (int trial = 0; trial < 50; ++trial) {
    SmoothedLine line;
    for (int i = 0; i < 200; ++i) {
      line.observe(std::exp2(40.0 * random.uniform()), std::exp2(60.0 * random.uniform()));
      ASSERT_GE(line.overhead(), 0.0);
      ASSERT_GE(line.rate(), 0.0);
      ASSERT_TRUE(std::isfinite(line.predict(1e12)));
    }
    EXPECT_GT(line.predict(1e6), 0.0);
  }
}

TEST(StageTimesTest, LaunchesThatTakeLessTheLargerTheyAre) {
  SmoothedLine line;
  for (int i = 0; i < 100; ++i) {
    line.observe(100.0, 2000.0);
    line.observe(200.0, 1000.0);
  }
  EXPECT_EQ(line.rate(), 0.0);
  EXPECT_GE(line.overhead(), 1000.0);
  EXPECT_LE(line.overhead(), 2000.0);
}

TEST(StageTimesTest, CpuTimeIsPerPairAndPerKeptPair) {
  StageTimes times;
  EXPECT_EQ(times.cpu_ns(1000, 100), 0.0);
  times.observe_cpu(1000, 100, 2000, 3000);
  EXPECT_DOUBLE_EQ(times.cpu_ns(1000, 100), 5000.0);
  EXPECT_DOUBLE_EQ(times.cpu_ns(500, 0), 1000.0);
  EXPECT_DOUBLE_EQ(times.cpu_ns(0, 10), 300.0);
  for (int i = 0; i < 200; ++i) times.observe_cpu(1000, 100, 4000, 6000);
  EXPECT_NEAR(times.cpu_ns(1000, 100), 10000.0, 10.0);
  times.observe_cpu(1000, 100, 4'000'000, 6'000'000);
  EXPECT_NEAR(times.cpu_ns(1000, 100), 10000.0, 1500.0) << "an outlier counts as three times";
}

TEST(StageTimesTest, MeasuredOnceEverythingWasSeen) {
  StageTimes times;
  EXPECT_FALSE(times.measured());
  EXPECT_EQ(times.device_ns(graph(1, 64)), 0.0);
  observe(times, graph(1, 64));
  EXPECT_FALSE(times.measured());
  times.observe_cpu(10, 0, 10, 0);
  EXPECT_FALSE(times.measured()) << "nothing was attended to";
  times.observe_cpu(0, 10, 0, 10);
  EXPECT_TRUE(times.measured());
}

TEST(StageTimesTest, IgnoresWhatCannotBe) {
  StageTimes times;
  times.observe_launch(graph(0, 64), 100);
  times.observe_launch(graph(1, 64), -1);
  times.observe_cpu(-1, 0, 10, 10);
  times.observe_cpu(10, 10, -1, -1);
  EXPECT_EQ(times.device_ns(graph(1, 64)), 0.0);
  EXPECT_EQ(times.cpu_ns(10, 10), 0.0);
  EXPECT_FALSE(times.measured());
  times.observe_launch(graph(1, 64), 0);
  EXPECT_FALSE(times.measured()) << "a clock that stood still";
  observe(times, graph(1, 64));
  expect_close(times, graph(1, 64), 0.001);

  SmoothedRate rate;
  rate.observe(10, 0);
  for (int i = 0; i < 200; ++i) rate.observe(10, 50);
  EXPECT_NEAR(rate.rate(), 5.0, 0.1);
  SmoothedLine line;
  line.observe(test::kNan, 1.0);
  line.observe(1.0, test::kNan);
  line.observe(0.0, 1.0);
  line.observe(1.0, -1.0);
  EXPECT_FALSE(line.measured());
}

}  // namespace
}  // namespace shadowattn
