#include "attention_table.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>

#include "attention_quality.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/text.h"

namespace shadowattn::bench {
namespace {

using Clock = std::chrono::steady_clock;
using tool::format_fixed;

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  const double upper = *middle;
  if (values.size() % 2 == 1) return upper;
  return (*std::max_element(values.begin(), middle) + upper) / 2;
}

double mean(const std::vector<double>& values) {
  return values.empty() ? 0
                        : std::accumulate(values.begin(), values.end(), 0.0) /
                              static_cast<double>(values.size());
}

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto index = static_cast<int64_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + index, values.end());
  return values[static_cast<size_t>(index)];
}

// One variant and what was measured of it. Seconds; stages are sums over threads.
struct Entry {
  Variant variant;
  std::optional<Engine> engine;  // none: ggml
  std::vector<double> wall, pilot, select, attend;
  CallReport report;  // of the last round
  double mass_mean = 1;
  double mass_low = 1;
  double error = 0;
};

Entry make_entry(const Variant& variant, Executor& executor) {
  Entry entry;
  entry.variant = variant;
  if (variant.ggml) return entry;
  Result<Engine> engine = Engine::create(variant.engine, &executor);
  if (!engine.ok()) throw tool::Failure(engine.status().message());
  entry.engine.emplace(std::move(engine).value());
  return entry;
}

void run_once(Entry& entry, const AttentionProblem& problem) {
  if (!entry.engine) {
    problem.run_ggml();
    return;
  }
  const Status status = entry.engine->attend(problem.call(), &entry.report);
  if (!status.ok()) throw tool::Failure("the engine failed: " + status.message());
}

void measure(Entry& entry, const AttentionProblem& problem) {
  const Clock::time_point start = Clock::now();
  run_once(entry, problem);
  entry.wall.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  entry.pilot.push_back(static_cast<double>(entry.report.pilot_ns) * 1e-9);
  entry.select.push_back(static_cast<double>(entry.report.select_ns) * 1e-9);
  entry.attend.push_back(static_cast<double>(entry.report.attend_ns) * 1e-9);
}

// Quality first: it also warms up caches, threads and scratch.
void judge(Entry& entry, const AttentionProblem& problem, const ExactAttention& exact) {
  run_once(entry, problem);
  entry.error = relative_error(problem.output(), exact);
  // Of ones as values, by which mass is measured, the error rule would keep nothing.
  if (!entry.engine || entry.variant.engine.output_error > 0.0) return;
  const std::vector<double> mass = retained_mass(*entry.engine, problem.call(), exact);
  entry.mass_mean = mean(mass);
  entry.mass_low = percentile(mass, 0.01);
}

// Exact attention, then every entry's quality, then the rounds.
void measure_all(std::vector<Entry>& entries, const AttentionProblem& problem, int rounds,
                 Executor& executor, const std::string& label) {
  const AttentionCall call = problem.call();
  const auto count = static_cast<int64_t>(entries.size());
  tool::Progress progress(label, call.key.heads + count * (rounds + 1), "");
  int64_t done = 0;
  const auto end_step = [&] {
    progress.update(++done);
    if (tool::interrupted()) throw tool::Failure("interrupted", tool::interrupted_status());
  };
  const ExactAttention exact = exact_attention(call, executor, end_step);
  for (Entry& entry : entries) {
    judge(entry, problem, exact);
    end_step();
  }
  for (int round = 0; round < rounds; ++round) {
    for (int64_t i = 0; i < count; ++i) {
      measure(entries[static_cast<size_t>(round % 2 == 0 ? i : count - 1 - i)], problem);
      end_step();
    }
  }
}

std::string speedup(const Entry& entry, const Entry& baseline) {
  std::vector<double> ratios;
  for (size_t i = 0; i < entry.wall.size(); ++i) {
    ratios.push_back(baseline.wall[i] / entry.wall[i]);
  }
  return format_fixed(median(std::move(ratios)), 2);
}

// "123 (45 %)"
std::string rate(double ops, double thread_seconds, double peak_per_thread) {
  if (thread_seconds <= 0) return "";
  const double achieved = ops / thread_seconds;
  std::string text = format_fixed(achieved * 1e-9, 1);
  if (peak_per_thread > 0) text += " (" + format_fixed(100 * achieved / peak_per_thread, 0) + " %)";
  return text;
}

std::string row_text(const std::vector<std::string>& cells) {
  std::string text = "|";
  for (const std::string& cell : cells) text.append(" ").append(cell).append(" |");
  return text + "\n";
}

/// Turns entries into rows.
class RowWriter {
 public:
  RowWriter(const AttentionProblem& problem, const MachinePeaks& peaks, int64_t visible_pairs)
      : call_(problem.call()),
        peaks_(peaks),
        threads_(peaks.threads),
        visible_(static_cast<double>(visible_pairs)) {}

  std::string text(const Entry& entry, const Entry& ggml, const Entry& dense) const {
    const double wall = median(entry.wall);
    std::vector<std::string> cells = {entry.variant.name, format_fixed(wall * 1e3, 1),
                                      speedup(entry, ggml), speedup(entry, dense),
                                      cycles(wall * threads_)};
    add_stages(entry, cells);
    cells.push_back(format_fixed(100 * kept(entry) / visible_, 1) + " %");
    cells.push_back(format_fixed(entry.mass_mean, 4));
    cells.push_back(format_fixed(entry.mass_low, 4));
    cells.push_back(scientific(entry.error));
    return row_text(cells);
  }

 private:
  static std::string scientific(double value) {
    if (value <= 0) return "0";
    const int exponent = static_cast<int>(std::floor(std::log10(value)));
    return format_fixed(value * std::pow(10, -exponent), 1) + "e" + std::to_string(exponent);
  }

  // Per visible pair.
  std::string cycles(double thread_seconds) const {
    return format_fixed(thread_seconds * peaks_.clock_hz / visible_, 2);
  }

  double kept(const Entry& entry) const {
    return entry.engine ? static_cast<double>(entry.report.kept_pairs) : visible_;
  }

  void add_stages(const Entry& entry, std::vector<std::string>& cells) const {
    const double pilot = median(entry.pilot);
    const double attend = entry.engine ? median(entry.attend) : median(entry.wall) * threads_;
    const bool sparse = entry.engine && pilot > 0;
    const auto stage = [&](double thread_seconds) {
      return format_fixed(thread_seconds / threads_ * 1e3, 1) + " / " + cycles(thread_seconds);
    };
    const double pilot_ops = 2.0 * static_cast<double>(call_.query.dim) * visible_;
    const double attend_flops =
        2.0 * static_cast<double>(call_.query.dim + call_.value.dim) * kept(entry);
    cells.push_back(sparse ? stage(pilot) : "");
    cells.push_back(sparse ? stage(median(entry.select)) : "");
    cells.push_back(stage(attend));
    cells.push_back(sparse ? rate(pilot_ops, pilot, per_thread(PeakKind::kInt8)) : "");
    cells.push_back(rate(attend_flops, attend, attend_peak(entry)));
  }

  // Of the operands that the kernel multiplies: f32, or INT16 for one half of the work and BF16 for
  // the other (kernels/attend16), whose rates have a harmonic mean.
  double attend_peak(const Entry& entry) const {
    const bool fast = entry.engine && entry.engine->features().covers(kAvx512Bf16Level) &&
                      entry.engine->options().precision == Precision::kFast;
    if (!fast) return per_thread(PeakKind::kF32);
    return 2.0 / (1.0 / per_thread(PeakKind::kInt16) + 1.0 / per_thread(PeakKind::kBf16));
  }

  double per_thread(PeakKind kind) const { return peaks_.best(kind) / threads_; }

  AttentionCall call_;
  const MachinePeaks& peaks_;
  double threads_;
  double visible_;
};

// 0.100 -> "0.1", 1.000 -> "1"
std::string short_number(double value) {
  std::string text = format_fixed(value, 3);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

int64_t visible_pairs(const Entry& dense) { return dense.report.visible_pairs; }

}  // namespace

std::vector<Variant> table_variants(const TableOptions& options) {
  std::vector<Variant> variants;
  variants.push_back({.name = "ggml", .ggml = true, .engine = {}});
  EngineOptions engine;
  engine.threads = options.threads;
  engine.isa = options.isa;
  engine.gate = false;  // shadow where it does not pay is what the table is for
  engine.mode = Mode::kDense;
  variants.push_back({.name = "dense", .engine = engine});
  engine.mode = Mode::kShadow;
  engine.sample_every = 0;
  for (const double error : options.errors) {
    engine.output_error = error;
    variants.push_back({.name = "shadow/error:" + short_number(error), .engine = engine});
  }
  engine.output_error = 0.0;
  engine.attn_error = 0.0;  // as many tokens as asked for
  for (const double keep : options.keeps) {
    engine.keep = keep;
    for (const int rows : options.rows) {
      engine.rows_per_list = rows;
      for (const bool shared : {true, false}) {
        engine.share_heads = shared;
        variants.push_back({.name = "shadow/keep:" + short_number(keep) +
                                    "/rows:" + std::to_string(rows) +
                                    (shared ? "/heads:shared" : "/heads:own"),
                            .engine = engine});
      }
    }
  }
  return variants;
}

std::string peaks_table(const MachinePeaks& peaks) {
  std::string text =
      row_text({"peak, " + std::to_string(peaks.threads) + " threads", "ISA", "measured"}) +
      "|---|---|---:|\n";
  for (const Peak& peak : peaks.arithmetic) {
    const bool floating = peak.kind == PeakKind::kF32 || peak.kind == PeakKind::kBf16;
    text += row_text(
        {std::string(peak_name(peak.kind)), std::string(peak.isa),
         format_fixed(peak.ops_per_second * 1e-9, 1) + (floating ? " GFLOP/s" : " Gop/s")});
  }
  text += row_text(
      {"memory, reading", "", format_fixed(peaks.read_bytes_per_second * 1e-9, 1) + " GB/s"});
  text += row_text({"clock of one core", "", format_fixed(peaks.clock_hz * 1e-9, 2) + " GHz"});
  return text;
}

std::string attention_table(const AttentionProblem& problem, const TableOptions& options,
                            const MachinePeaks& peaks, Executor& executor,
                            const std::string& label) {
  std::vector<Entry> entries;
  for (const Variant& variant : table_variants(options)) {
    entries.push_back(make_entry(variant, executor));
  }
  measure_all(entries, problem, options.rounds, executor, label);
  const Entry& ggml = entries[0];
  const Entry& dense = entries[1];
  const RowWriter writer(problem, peaks, visible_pairs(dense));
  std::string text =
      row_text({"attention", "ms", "x ggml", "x dense", "cycles/pair", "pilot ms / cycles",
                "select ms / cycles", "attend ms / cycles", "pilot Gop/s", "attend GFLOP/s", "kept",
                "mass", "mass p1", "error"}) +
      "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
  for (const Entry& entry : entries) text += writer.text(entry, ggml, dense);
  return text;
}

}  // namespace shadowattn::bench
