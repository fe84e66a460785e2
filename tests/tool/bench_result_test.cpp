// Rows made of series of runs, and the statistics in them.
#include "bench/result.h"

#include <gtest/gtest.h>

#include "common/statistics.h"

namespace shadowattn::tool {
namespace {

TEST(Statistics, OfAKnownSample) {
  const Statistics result = statistics({4, 1, 3, 2, 10});
  EXPECT_DOUBLE_EQ(result.median, 3);
  EXPECT_DOUBLE_EQ(result.mean, 4);
  EXPECT_DOUBLE_EQ(result.stddev, 3.5355339059327378);  // sqrt(50 / 4)
  EXPECT_DOUBLE_EQ(result.min, 1);
  EXPECT_DOUBLE_EQ(result.max, 10);
}

TEST(Statistics, OfFewValues) {
  EXPECT_DOUBLE_EQ(median({}), 0);
  EXPECT_DOUBLE_EQ(median({7}), 7);
  EXPECT_DOUBLE_EQ(median({9, 7}), 8);
  EXPECT_DOUBLE_EQ(statistics({7}).stddev, 0);
  EXPECT_DOUBLE_EQ(statistics({}).max, 0);
}

TEST(Statistics, RatiosArePaired) {
  // The machine slowed down after the first turn; the ratio of the medians would be 1.
  EXPECT_DOUBLE_EQ(median_of_ratios({300, 10, 100}, {100, 5, 100}), 2);
  EXPECT_DOUBLE_EQ(median_of_ratios({1, 2}, {0, 1}), 2);
  EXPECT_DOUBLE_EQ(median_of_ratios({1}, {}), 0);
}

BenchSeries series(Attention attention, bool flash, const std::vector<int64_t>& milliseconds) {
  BenchSeries result;
  result.attention = attention;
  result.flash_attention = flash;
  for (const int64_t ms : milliseconds) {
    BenchRun run;
    run.wall_ns = ms * 1'000'000;
    run.cpu_seconds = 2e-3 * static_cast<double>(ms);
    result.runs.push_back(std::move(run));
  }
  return result;
}

const BenchTest kPrompt = {.generation = false, .tokens = 100, .depth = 2048};

TEST(BenchTest, HasLlamaBenchsNames) {
  EXPECT_EQ(kPrompt.name(), "pp100 @ d2048");
  EXPECT_EQ((BenchTest{.generation = true, .tokens = 32, .depth = 0}.name()), "tg32");
}

TEST(BenchRows, TheFasterOfLlamaCppsKindsIsTheBaseline) {
  const std::vector<BenchRow> rows =
      bench_rows(kPrompt, {series(Attention::kLlama, false, {20, 10, 40}),
                           series(Attention::kLlama, true, {50, 25, 100}),
                           series(Attention::kDense, true, {10, 5, 10})});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].label(), "llama (fa 0)");
  EXPECT_DOUBLE_EQ(rows[0].ts.median, 5000);  // 100 tokens in 20 ms
  EXPECT_DOUBLE_EQ(rows[0].ratio, 1);
  EXPECT_DOUBLE_EQ(rows[0].other_flash_attention_ts.value(), 2000);
  EXPECT_FALSE(rows[0].stages.has_value());
  EXPECT_FALSE(rows[0].keep.has_value());
  EXPECT_EQ(rows[1].label(), "dense");
  EXPECT_DOUBLE_EQ(rows[1].ratio, 2);  // of 2, 2 and 4
  EXPECT_NEAR(rows[1].cpu_s_per_1k, 2e-3 * 25 / 300 * 1000, 1e-12);
}

TEST(BenchRows, AttentionFiguresAreMeansAndSums) {
  BenchSeries shadow = series(Attention::kShadow, true, {10, 10});
  shadow.keep = 0.1;
  shadow.runs[0].stages.pilot_ms = 1;
  shadow.runs[1].stages.pilot_ms = 3;
  shadow.runs[0].visible_pairs = 100;
  shadow.runs[0].kept_pairs = 10;
  shadow.runs[1].visible_pairs = 300;
  shadow.runs[1].kept_pairs = 110;
  shadow.runs[0].dense_reasons = {{"short", 1}};
  shadow.runs[1].dense_reasons = {{"short", 2}, {"gate", 5}};
  shadow.runs[0].peak_memory_bytes = 7;
  shadow.runs[1].peak_memory_bytes = 5;
  const std::vector<BenchRow> rows =
      bench_rows(kPrompt, {series(Attention::kLlama, true, {10, 10}), shadow});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_FALSE(rows[0].other_flash_attention_ts.has_value());
  const BenchRow& row = rows[1];
  EXPECT_EQ(row.label(), "shadow 0.1");
  EXPECT_DOUBLE_EQ(row.stages.value().pilot_ms, 2);
  EXPECT_DOUBLE_EQ(row.kept_share.value(), 0.3);
  EXPECT_EQ(row.dense_reasons, (std::map<std::string, int64_t>{{"gate", 5}, {"short", 3}}));
  EXPECT_EQ(row.peak_memory_bytes, 7);
}

TEST(BenchRows, ADeviceIsLabelledAndItsIdleSharesAreOfTheSpan) {
  BenchSeries device = series(Attention::kShadow, true, {10, 10});
  device.keep = 0.2;
  device.threads = 2;
  device.device = DeviceUse{.name = "npu-sim", .pipeline = "fifo", .fuse_heads = 1};
  for (BenchRun& run : device.runs) {
    run.device = {.launches = 4, .busy_ms = 3, .wait_ms = 6, .span_ms = 12, .simulation_cpu_ms = 5};
    run.device_notes = {{"lost", 2}};
  }
  const std::vector<BenchRow> rows =
      bench_rows(kPrompt, {series(Attention::kLlama, true, {10, 10}), device});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_FALSE(rows[0].device_times.has_value());
  EXPECT_FALSE(rows[0].device_idle_share.has_value());
  const BenchRow& row = rows[1];
  EXPECT_EQ(row.label(), "shadow 0.2, npu-sim fifo, fuse 1");
  EXPECT_DOUBLE_EQ(row.device_idle_share.value(), 0.75);
  EXPECT_DOUBLE_EQ(row.cpu_idle_share.value(), 0.25) << "6 ms of two threads' 12 ms";
  EXPECT_DOUBLE_EQ(row.device_times.value().launches, 4);
  EXPECT_NEAR(row.simulation_cpu_s_per_1k.value(), 0.05, 1e-12);  // 5 ms for 100 tokens
  EXPECT_EQ(row.device_notes, (std::map<std::string, int64_t>{{"lost", 4}}));
  EXPECT_EQ((DeviceUse{.name = "x", .pipeline = "off", .fuse_heads = 0}.label()),
            "x off, fuse all");
}

TEST(BenchRows, ADeviceWithoutWorkHasNoIdleShare) {
  BenchSeries device = series(Attention::kShadow, true, {10});
  device.device = DeviceUse{.name = "npu-sim", .pipeline = "off", .fuse_heads = 0};
  const BenchRow row = bench_rows(kPrompt, {series(Attention::kLlama, true, {10}), device}).back();
  EXPECT_TRUE(row.device_times.has_value());
  EXPECT_FALSE(row.device_idle_share.has_value());
  EXPECT_FALSE(row.cpu_idle_share.has_value());
}

TEST(BenchRows, ProcessorTimeOfAttentionIsWhatIsNotOutside) {
  BenchSeries dense = series(Attention::kDense, true, {10, 20});  // 20 and 40 ms of processor time
  dense.runs[0].outside_cpu_seconds = 0.005;
  dense.runs[1].outside_cpu_seconds = 0.015;
  const std::vector<BenchRow> rows =
      bench_rows(kPrompt, {series(Attention::kLlama, true, {50}), dense});
  EXPECT_NEAR(rows[1].attention_cpu_s_per_1k.value(), 1000 * 0.040 / 200, 1e-12);
  EXPECT_NEAR(rows[0].attention_cpu_s_per_1k.value(), 1000 * (0.1 - 0.010) / 100, 1e-12)
      << "less what ours spend outside attention, on the mean";
  // Nobody knows without columns of ours, and nothing is below zero.
  EXPECT_FALSE(bench_rows(kPrompt, {series(Attention::kLlama, true, {50})})
                   .front()
                   .attention_cpu_s_per_1k.has_value());
  dense.runs[0].outside_cpu_seconds = dense.runs[1].outside_cpu_seconds = 1;
  EXPECT_DOUBLE_EQ(bench_rows(kPrompt, {series(Attention::kLlama, true, {50}), dense})
                       .back()
                       .attention_cpu_s_per_1k.value(),
                   0);
}

}  // namespace
}  // namespace shadowattn::tool
