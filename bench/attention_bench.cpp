// attention_bench: one attention call by ggml, by our dense kernels and by shadow attention, on
// recorded or random operands, next to what this machine can do at most.

#include <benchmark/benchmark.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "attention_table.h"
#include "common/attention_options.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/llama_session.h"
#include "common/recording.h"
#include "common/text.h"
#include "measure/attention_problem.h"
#include "openmp_executor.h"
#include "peaks.h"
#include "program.h"

namespace shadowattn::bench {
namespace {

using tool::Failure;
using tool::measure::GgmlCpu;
using tool::measure::random_call;
using tool::measure::RandomShape;

constexpr char kHelp[] =
    "Times one attention call: ggml's own kernel, our dense kernels, and shadow attention by who\n"
    "shares a token list. Without --table it is a Google Benchmark program "
    "(--benchmark_filter=...,\n"
    "--benchmark_list_tests). With --table all variants take turns and one table comes out; mass\n"
    "(softmax mass on the kept tokens: mean and first percentile over rows and heads) and error\n"
    "(of the output, relative to exact attention) mean something on recorded operands only.\n"
    "Without --dump operands are random: the work is that of a real model, the lists are not.";

struct Options {
  bool table = false;
  std::string dump;
  std::vector<int> layers;  // empty: all in the dump
  TableOptions measuring;
};

/// Operands are made or copied when a problem is first measured, and one is held at a time.
struct Problem {
  std::string name;
  std::function<tool::RecordedCall()> make;
};

std::vector<Problem> random_problems() {
  std::vector<Problem> problems;
  const auto add = [&](const std::string& name, const RandomShape& shape) {
    problems.push_back(
        {name + "/keys:" + std::to_string(shape.keys), [shape] { return random_call(shape); }});
  };
  for (const int64_t keys : {2048, 8192}) add("random/dim:64", {.keys = keys});  // Qwen2-0.5B
  add("random/dim:128", {.heads = 12, .dim = 128});                              // Qwen2-1.5B
  return problems;
}

std::vector<Problem> dump_problems(const Options& options) {
  auto recording = std::make_shared<tool::Recording>(tool::load_recording(options.dump));
  std::vector<Problem> problems;
  for (const tool::RecordedCall& call : recording->calls) {
    const int layer = call.layer;
    const std::vector<int>& wanted = options.layers;
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), layer) == wanted.end()) continue;
    problems.push_back({"layer:" + std::to_string(layer), [recording, &call] { return call; }});
  }
  if (problems.empty()) throw Failure(options.dump + " holds none of the layers asked for");
  std::printf("Recorded: %s, %s tokens\n\n", recording->model.c_str(),
              tool::format_count(static_cast<int64_t>(recording->tokens.size())).c_str());
  return problems;
}

std::string shape_text(const AttentionCall& call) {
  return std::to_string(call.query.heads) + " heads, " + std::to_string(call.key.heads) +
         " KV heads, head dim " + std::to_string(call.query.dim) + ", " +
         std::to_string(call.query.rows) + " rows, " + std::to_string(call.key.rows) + " keys";
}

/// All that benchmarks share.
class Session {
 public:
  explicit Session(int threads)
      : cpu_(threads), executor_(plugin::make_host_executor(threads)), threads_(threads) {
    if (!executor_) throw Failure("cannot start " + std::to_string(threads) + " threads");
  }

  const GgmlCpu& cpu() const { return cpu_; }
  Executor& executor() { return *executor_; }
  int threads() const { return threads_; }

  /// The problem in memory; replaces the one before.
  const AttentionProblem& open(const Problem& problem) {
    if (!current_ || current_name_ != problem.name) {
      current_.reset();
      current_ = std::make_unique<AttentionProblem>(problem.make(), cpu_);
      current_name_ = problem.name;
    }
    return *current_;
  }

 private:
  GgmlCpu cpu_;
  std::unique_ptr<Executor> executor_;
  int threads_;
  std::string current_name_;
  std::unique_ptr<AttentionProblem> current_;
};

void add_counters(benchmark::State& state, const CallReport& sums) {
  const auto pairs = static_cast<double>(sums.visible_pairs);
  state.SetItemsProcessed(sums.visible_pairs);
  state.counters["pilot_ns/pair"] = static_cast<double>(sums.pilot_ns) / pairs;
  state.counters["select_ns/pair"] = static_cast<double>(sums.select_ns) / pairs;
  state.counters["attend_ns/pair"] = static_cast<double>(sums.attend_ns) / pairs;
  state.counters["kept"] = static_cast<double>(sums.kept_pairs) / pairs;
}

void bench_engine(benchmark::State& state, Session& session, const Problem& problem,
                  const EngineOptions& options) {
  Result<Engine> engine = Engine::create(options, &session.executor());
  if (!engine.ok()) {
    state.SkipWithError(engine.status().message().c_str());
    return;
  }
  const AttentionCall call = session.open(problem).call();
  CallReport sums;
  for (auto _ : state) {
    CallReport report;
    if (const Status status = engine.value().attend(call, &report); !status.ok()) {
      state.SkipWithError(status.message().c_str());
      return;
    }
    sums.visible_pairs += report.visible_pairs;
    sums.kept_pairs += report.kept_pairs;
    sums.pilot_ns += report.pilot_ns;
    sums.select_ns += report.select_ns;
    sums.attend_ns += report.attend_ns;
  }
  add_counters(state, sums);
}

void bench_ggml(benchmark::State& state, Session& session, const Problem& problem) {
  const AttentionProblem& attention = session.open(problem);
  for (auto _ : state) attention.run_ggml();
}

void bench_peak(benchmark::State& state, const PeakLoop& loop) {
  constexpr int64_t kSteps = 100'000;
  for (auto _ : state) loop.run(kSteps);
  state.counters["ops/s"] = benchmark::Counter(static_cast<double>(kSteps * loop.ops_per_step),
                                               benchmark::Counter::kIsIterationInvariantRate);
}

void register_all(Session& session, const std::vector<Problem>& problems,
                  const TableOptions& options) {
  for (const Problem& problem : problems) {
    for (const Variant& variant : table_variants(options)) {
      const auto run = [&session, problem, variant](benchmark::State& state) {
        if (variant.ggml) {
          bench_ggml(state, session, problem);
        } else {
          bench_engine(state, session, problem, variant.engine);
        }
      };
      benchmark::RegisterBenchmark(("call/" + variant.name + "/" + problem.name).c_str(), run)
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    }
  }
  for (const PeakLoop& loop : peak_loops()) {
    const std::string name =
        "peak/" + std::string(peak_name(loop.kind)) + "/" + std::string(loop.isa);
    benchmark::RegisterBenchmark(name.c_str(),
                                 [loop](benchmark::State& state) { bench_peak(state, loop); });
  }
}

void print_tables(Session& session, const std::vector<Problem>& problems,
                  const TableOptions& options) {
  const tool::InterruptGuard guard;
  const MachinePeaks peaks = measure_peaks(session.executor());
  std::printf("%s, %d threads, %d rounds\n\n%s\n", session.cpu().processor().c_str(),
              session.threads(), options.rounds, peaks_table(peaks).c_str());
  std::fflush(stdout);
  for (const Problem& problem : problems) {
    const AttentionProblem& attention = session.open(problem);
    const std::string table =
        attention_table(attention, options, peaks, session.executor(), problem.name);
    std::printf("%s: %s\n\n%s\n", problem.name.c_str(), shape_text(attention.call()).c_str(),
                table.c_str());
    std::fflush(stdout);
  }
  std::printf(
      "ms, x: medians of rounds in which the variants took turns. cycles: of all threads "
      "together,\n"
      "per visible (head, row, key) triple. Stages: ms are the mean over threads; what is missing "
      "to\n"
      "the whole is plan and waiting. pilot Gop/s: 2 x head dim per visible pair; attend GFLOP/s:\n"
      "4 x head dim per kept pair; both per thread, with their share of one thread's INT8 peak\n"
      "and that of the operands that attend multiplies (f32; INT16 and BF16 where it is fast).\n");
}

void run_benchmarks(Session& session, const std::vector<Problem>& problems, const Options& options,
                    const std::vector<std::string>& extras) {
  register_all(session, problems, options.measuring);
  std::vector<std::string> words = {"attention_bench"};
  words.insert(words.end(), extras.begin(), extras.end());
  std::vector<char*> arguments;
  arguments.reserve(words.size());
  for (std::string& word : words) arguments.push_back(word.data());
  auto count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (count > 1) {
    throw Failure(std::string("unknown argument ") + arguments[1] + " (see attention_bench --help)",
                  tool::kExitUsage);
  }
  benchmark::RunSpecifiedBenchmarks();
}

void add_options(CLI::App& app, Options& options) {
  app.add_flag("--table", options.table, "print one markdown table per layer or random shape");
  app.add_option("--dump", options.dump, "operands: a file made by `shadowattn record` [random]")
      ->type_name("FILE");
  app.add_option("--layers", options.layers, "of the dump, as 0,11 [all in it]")
      ->delimiter(',')
      ->type_name("LIST");
  tool::add_threads_option(app, options.measuring.threads);
  app.add_option("--rounds", options.measuring.rounds, "with --table [5]")
      ->check(CLI::Range(1, 1000));
  app.add_option("--output-error", options.measuring.errors, "relative errors of the output [0.02]")
      ->delimiter(',')
      ->check(CLI::Range(1e-6, 0.99));
  app.add_option("--keep", options.measuring.keeps, "shares of tokens to keep [0.2,0.1]")
      ->delimiter(',')
      ->check(CLI::Range(1e-6, 1.0));
  app.add_option("--rows", options.measuring.rows, "rows that share a list [1,2,4,8]")
      ->delimiter(',')
      ->check(CLI::Range(1, 64));
  app.add_option("--isa", options.measuring.isa, "instruction set to use [the best here]");
  app.allow_extras();
}

void run(const Options& options, const std::vector<std::string>& extras) {
  if (options.table && !extras.empty()) {
    throw Failure("--table does not know " + extras[0], tool::kExitUsage);
  }
  if (options.dump.empty() && !options.layers.empty()) {
    throw Failure("--layers needs --dump", tool::kExitUsage);
  }
  const tool::LlamaRuntime runtime;
  Session session(options.measuring.threads);
  const std::vector<Problem> problems =
      options.dump.empty() ? random_problems() : dump_problems(options);
  if (options.table) {
    print_tables(session, problems, options.measuring);
  } else {
    run_benchmarks(session, problems, options, extras);
  }
}

}  // namespace
}  // namespace shadowattn::bench

int main(int argc, char** argv) {
  using namespace shadowattn::bench;
  Options options;
  options.measuring.threads = shadowattn::tool::default_threads();
  CLI::App app(kHelp, "attention_bench");
  add_options(app, options);
  return run_program(app, argc, argv, [&] { run(options, app.remaining()); });
}
