#include "bench/result.h"

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

DeviceTimes mean_times(const std::vector<BenchRun>& runs) {
  const auto mean = [&runs](double DeviceTimes::*time) {
    std::vector<double> values;
    for (const BenchRun& run : runs) values.push_back(run.device.*time);
    return statistics(values).mean;
  };
  return {.launches = mean(&DeviceTimes::launches),
          .busy_ms = mean(&DeviceTimes::busy_ms),
          .wait_ms = mean(&DeviceTimes::wait_ms),
          .span_ms = mean(&DeviceTimes::span_ms),
          .simulation_cpu_ms = mean(&DeviceTimes::simulation_cpu_ms)};
}

void add_device_figures(const BenchTest& test, const BenchSeries& series, BenchRow& row) {
  row.device = series.device;
  if (!series.device) return;
  const DeviceTimes times = mean_times(series.runs);
  row.device_times = times;
  // ms per run over tokens is seconds per 1000 tokens.
  if (test.tokens > 0) row.simulation_cpu_s_per_1k = times.simulation_cpu_ms / test.tokens;
  if (times.span_ms > 0) {
    row.device_idle_share = std::clamp(1 - times.busy_ms / times.span_ms, 0.0, 1.0);
    row.cpu_idle_share = std::clamp(times.wait_ms / (times.span_ms * series.threads), 0.0, 1.0);
  }
  for (const BenchRun& run : series.runs) {
    for (const auto& [note, calls] : run.device_notes) row.device_notes[note] += calls;
  }
}

/// Mean over all runs of ours; none when there are none.
std::optional<double> outside_cpu_seconds(const std::vector<BenchSeries>& series) {
  std::vector<double> seconds;
  for (const BenchSeries& one : series) {
    for (const BenchRun& run : one.runs) {
      if (run.outside_cpu_seconds) seconds.push_back(*run.outside_cpu_seconds);
    }
  }
  if (seconds.empty()) return std::nullopt;
  return statistics(seconds).mean;
}

void add_attention_cpu(const BenchTest& test, const BenchSeries& series,
                       std::optional<double> outside, BenchRow& row) {
  if (test.tokens <= 0 || series.runs.empty()) return;
  double seconds = 0;
  for (const BenchRun& run : series.runs) {
    if (run.outside_cpu_seconds) outside = run.outside_cpu_seconds;
    if (!outside) return;
    seconds += run.cpu_seconds - *outside;
  }
  const double tokens = static_cast<double>(test.tokens) * static_cast<double>(series.runs.size());
  row.attention_cpu_s_per_1k = std::max(0.0, 1000 * seconds / tokens);
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

BenchRow make_row(const BenchTest& test, const BenchSeries& series, std::optional<double> outside) {
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
  add_attention_cpu(test, series, outside, row);
  if (series.attention != Attention::kLlama) add_attention_figures(series, row);
  add_device_figures(test, series, row);
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

std::string DeviceUse::label() const {
  return name + " " + pipeline + ", fuse " + (fuse_heads == 0 ? "all" : std::to_string(fuse_heads));
}

std::string BenchRow::label() const {
  if (attention == Attention::kLlama) return flash_attention ? "llama (fa 1)" : "llama (fa 0)";
  if (attention == Attention::kDense) return "dense";
  std::array<char, 32> text{"shadow"};
  if (keep.value_or(1) < 1) std::snprintf(text.data(), text.size(), "shadow %g", *keep);
  return device ? text.data() + (", " + device->label()) : text.data();
}

std::vector<BenchRow> bench_rows(const BenchTest& test, const std::vector<BenchSeries>& series) {
  std::vector<BenchRow> rows;
  std::optional<BenchRow> slower;
  const std::optional<double> outside = outside_cpu_seconds(series);
  for (const BenchSeries& one : series) {
    if (one.attention != Attention::kLlama) continue;
    BenchRow row = make_row(test, one, outside);
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
    rows.push_back(make_row(test, one, outside));
    rows.back().ratio = median_of_ratios(rows.back().samples_ts, rows.front().samples_ts);
  }
  return rows;
}

}  // namespace shadowattn::tool
