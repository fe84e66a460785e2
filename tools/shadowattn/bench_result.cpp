#include "bench_result.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace shadowattn::tool {
namespace {

double rate(const BenchTest& test, const BenchRun& run) {
  return 1e9 * test.tokens / static_cast<double>(std::max<int64_t>(run.wall_ns, 1));
}

std::vector<double> rates(const BenchTest& test, const BenchSeries& series) {
  std::vector<double> all;
  all.reserve(series.runs.size());
  for (const BenchRun& run : series.runs) all.push_back(rate(test, run));
  return all;
}

AttentionStages mean_stages(const std::vector<BenchRun>& runs) {
  const auto mean = [&runs](double AttentionStages::*stage) {
    std::vector<double> values;
    for (const BenchRun& run : runs) values.push_back(run.stages.*stage);
    return statistics(values).mean;
  };
  return {.pilot_ms = mean(&AttentionStages::pilot_ms),
          .select_ms = mean(&AttentionStages::select_ms),
          .attend_ms = mean(&AttentionStages::attend_ms),
          .attention_ms = mean(&AttentionStages::attention_ms),
          .other_ms = mean(&AttentionStages::other_ms)};
}

// What only our own attention reports.
void add_attention_figures(const BenchSeries& series, BenchRow& row) {
  int64_t visible = 0;
  int64_t kept = 0;
  for (const BenchRun& run : series.runs) {
    visible += run.visible_pairs;
    kept += run.kept_pairs;
    for (const auto& [reason, calls] : run.dense_reasons) row.dense_reasons[reason] += calls;
  }
  if (visible > 0) row.kept_share = static_cast<double>(kept) / static_cast<double>(visible);
  row.keep = series.attention == Attention::kShadow ? series.keep : 1;
  row.stages = mean_stages(series.runs);
}

BenchRow make_row(const BenchTest& test, const BenchSeries& series) {
  BenchRow row;
  row.test = test;
  row.attention = series.attention;
  row.flash_attention = series.flash_attention;
  row.started = series.started;
  row.samples_ts = rates(test, series);
  row.ts = statistics(row.samples_ts);
  std::vector<double> times;
  double cpu_seconds = 0;
  for (const BenchRun& run : series.runs) {
    row.samples_ns.push_back(run.wall_ns);
    times.push_back(static_cast<double>(run.wall_ns));
    cpu_seconds += run.cpu_seconds;
    row.peak_memory_bytes = std::max(row.peak_memory_bytes, run.peak_memory_bytes);
    row.kv_bytes = std::max(row.kv_bytes, run.kv_bytes);
  }
  row.ns = statistics(times);
  const double tokens = static_cast<double>(test.tokens) * static_cast<double>(series.runs.size());
  if (tokens > 0) row.cpu_s_per_1k = 1000 * cpu_seconds / tokens;
  if (series.attention != Attention::kLlama) add_attention_figures(series, row);
  return row;
}

}  // namespace

std::string BenchTest::kind() const { return (generation ? "tg" : "pp") + std::to_string(tokens); }

std::string BenchTest::name() const {
  return depth > 0 ? kind() + " @ d" + std::to_string(depth) : kind();
}

std::string to_string(Attention attention) {
  if (attention == Attention::kLlama) return "llama";
  return attention == Attention::kDense ? "dense" : "shadow";
}

std::string BenchRow::label() const {
  if (attention == Attention::kLlama) return flash_attention ? "llama (fa 1)" : "llama (fa 0)";
  if (attention == Attention::kDense) return "dense";
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "shadow %g", keep.value_or(1));
  return text.data();
}

std::vector<BenchRow> bench_rows(const BenchTest& test, const std::vector<BenchSeries>& series) {
  std::vector<BenchRow> rows;
  std::optional<BenchRow> slower;
  for (const BenchSeries& one : series) {
    if (one.attention != Attention::kLlama) continue;
    BenchRow row = make_row(test, one);
    if (rows.empty()) {
      rows.push_back(std::move(row));
      continue;
    }
    if (row.ts.median > rows.front().ts.median) std::swap(row, rows.front());
    slower = std::move(row);
  }
  if (slower) rows.front().other_flash_attention_ts = slower->ts.median;
  for (const BenchSeries& one : series) {
    if (one.attention == Attention::kLlama) continue;
    rows.push_back(make_row(test, one));
    rows.back().ratio = median_of_ratios(rows.back().samples_ts, rows.front().samples_ts);
  }
  return rows;
}

}  // namespace shadowattn::tool
