#include "bench_run.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <random>
#include <set>

#include "failure.h"
#include "interrupt.h"
#include "machine.h"
#include "process_usage.h"
#include "progress.h"
#include "summary.h"

namespace shadowattn::tool {
namespace {

using Clock = std::chrono::steady_clock;
using Tokens = std::vector<llama_token>;

constexpr int64_t kContextStep = 256;  // llama.cpp rounds contexts up to this
constexpr int kWarmUpTokens = 4;       // of a generation; of a prompt: one ubatch
constexpr int64_t kDecodeWeight = 8;   // a single token takes about as long as so many of a prompt

/// One way to attend, with the context in which it does.
struct Column {
  Attention attention = Attention::kLlama;
  bool flash_attention = true;
  double keep = 1;
  std::optional<DeviceUse> device;
  Config config;  ///< of the plug-in
  LlamaContext* context = nullptr;

  std::string name() const {
    if (attention != Attention::kLlama) {
      return to_string(attention) + (device ? ", " + device->label() : "");
    }
    return flash_attention ? "llama.cpp, fa 1" : "llama.cpp, fa 0";
  }
};

DeviceUse use_of(const DeviceOptions& options) {
  std::string pipeline = "planned";
  if (options.pipeline != PipelineMode::kPlanned) {
    pipeline = options.pipeline == PipelineMode::kOff ? "off" : "fifo";
  }
  return {options.name, std::move(pipeline), options.fuse_heads};
}

std::vector<BenchTest> tests_at(const BenchSetup& setup, int depth) {
  std::vector<BenchTest> tests;
  for (const int tokens : setup.prompts) tests.push_back({false, tokens, depth});
  for (const int tokens : setup.generations) tests.push_back({true, tokens, depth});
  return tests;
}

int warm_up_tokens(const BenchTest& test, int ubatch) {
  return std::min(test.tokens, test.generation ? kWarmUpTokens : ubatch);
}

int64_t work(const BenchTest& test, int tokens) {
  return test.generation ? tokens * kDecodeWeight : tokens;
}

// Our columns must have attended as they are called, and llama.cpp's must not have met us.
void check_it_ran(const Column& column, const nlohmann::json& report) {
  const AttentionTotals totals = attention_totals(report);
  if (column.attention == Attention::kLlama) {
    if (totals.calls == 0) return;
    throw Failure("the plug-in computed attention in llama.cpp's own column; nothing was measured");
  }
  if (totals.calls == 0) {
    std::string why;
    for (const auto& row : dense_rows(report)) why += "; " + row[0] + " " + row[1];
    throw Failure(
        "the plug-in computed no attention in this model, so there is nothing to compare" + why +
        "; see also `shadowattn run --report`");
  }
  const std::string requested(describe(DenseReason::kRequested));
  const auto found = totals.dense_reasons.find(requested);
  const bool all_requested = found != totals.dense_reasons.end() && found->second == totals.calls;
  if (all_requested != (column.attention == Attention::kDense)) {
    throw Failure("the plug-in did not follow when the " + column.name() +
                  " column was switched to; nothing was measured");
  }
}

struct DeviceTotals {
  DeviceTimes times;
  std::map<std::string, int64_t> notes;
};

DeviceTotals device_totals(const nlohmann::json& report) {
  const auto found = report.at("totals").find("device");
  if (found == report.at("totals").end()) return {};
  const nlohmann::json& device = *found;
  return {{.launches = device.value("launches", 0.0),
           .busy_ms = device.value("busy_ms", 0.0),
           .wait_ms = device.value("wait_ms", 0.0),
           .span_ms = device.value("span_ms", 0.0),
           .simulation_cpu_ms = device.value("simulation_cpu_ms", 0.0)},
          device.value("notes", std::map<std::string, int64_t>())};
}

}  // namespace

int64_t BenchSetup::context_tokens() const {
  int64_t longest = 1;
  for (const int tokens : prompts) longest = std::max<int64_t>(longest, tokens);
  for (const int tokens : generations) longest = std::max<int64_t>(longest, tokens);
  return (depths.empty() ? 0 : depths.back()) + longest;
}

class Bench::Impl {
 public:
  Impl(LlamaRuntime& runtime, const LlamaModel& model, const BenchSetup& setup,
       const PluginControl* plugin)
      : setup_(setup), random_(setup.seed), vocabulary_(vocabulary_size(model)), plugin_(plugin) {
    make_contexts(runtime, model);
    make_columns();
    filler_ = random_tokens(setup.depths.empty() ? 0 : setup.depths.back());
  }

  bool measure(const OnTest& on_test) {
    progress_.set_total(total_work());
    for (const int depth : setup_.depths) {
      if (!fill_to(depth)) return false;
      for (const BenchTest& test : tests_at(setup_, depth)) {
        std::vector<BenchSeries> series = warm_up(test);
        if (series.empty() || !measure_test(test, series)) return false;
        progress_.clear();
        on_test(test, series);
      }
    }
    return true;
  }

 private:
  static uint32_t vocabulary_size(const LlamaModel& model) {
    return static_cast<uint32_t>(
        std::max(1, llama_vocab_n_tokens(llama_model_get_vocab(model.get()))));
  }

  // llama.cpp's contexts are made before the plug-in is loaded, so that it is no part of them;
  // when it is there already, it is switched off for them.
  void make_contexts(LlamaRuntime& runtime, const LlamaModel& model) {
    ContextOptions options = {
        .tokens = (setup_.context_tokens() + kContextStep - 1) / kContextStep * kContextStep,
        .ubatch = setup_.ubatch,
        .threads = setup_.threads,
        .type_k = setup_.type_k,
        .type_v = setup_.type_v};
    off_.enabled = false;
    if (plugin_ == nullptr && PluginControl::loaded_by_host()) load_plugin(runtime);
    if (plugin_ != nullptr) plugin_->configure(off_);
    if (setup_.flash_on) flash_on_.emplace(runtime, model, options);
    options.flash_attention = false;
    if (setup_.flash_off) flash_off_.emplace(runtime, model, options);
    if (plugin_ == nullptr) load_plugin(runtime);
    options.flash_attention = true;
    plugin_->configure(dense_config());
    ours_.emplace(runtime, model, options);
  }

  void load_plugin(LlamaRuntime& runtime) { plugin_ = &loaded_.emplace(runtime); }

  // Decoding has one row, and shall go through the plug-in too. All configs of ours claim the same
  // calls, so that one context serves them: a graph that llama.cpp uses again stays right.
  Config our_config(Mode mode, const ShadowDial& dial) const {
    Config config = setup_.config;
    config.engine.device = {};
    config.enabled = true;
    config.min_rows = 1;
    config.engine.mode = mode;
    config.engine.keep = dial.keep;
    config.engine.attn_error = dial.attn_error;
    config.engine.gate = dial.gate;
    return config;
  }
  Config dense_config() const { return our_config(Mode::kDense, {}); }

  void make_columns() {
    if (flash_off_) columns_.push_back({Attention::kLlama, false, 1, {}, off_, &*flash_off_});
    if (flash_on_) columns_.push_back({Attention::kLlama, true, 1, {}, off_, &*flash_on_});
    if (setup_.dense) columns_.push_back({Attention::kDense, true, 1, {}, dense_config(), &*ours_});
    for (const ShadowDial& dial : setup_.dials) {
      Config config = our_config(Mode::kShadow, dial);
      columns_.push_back({Attention::kShadow, true, dial.keep, std::nullopt, config, &*ours_});
      if (!dial.devices) continue;
      for (const DeviceOptions& device : setup_.devices) {
        config.engine.device = device;
        columns_.push_back({Attention::kShadow, true, dial.keep, use_of(device), config, &*ours_});
      }
    }
  }

  // Uniform over the vocabulary, as llama-bench's.
  Tokens random_tokens(int count) {
    Tokens tokens(static_cast<size_t>(count));
    for (llama_token& token : tokens) token = static_cast<llama_token>(random_() % vocabulary_);
    return tokens;
  }

  int64_t total_work() const {
    int64_t total = static_cast<int64_t>(filler_.size()) * (flash_off_ ? 2 : 1);
    for (const BenchTest& test : tests_at(setup_, 0)) {
      const int tokens = warm_up_tokens(test, setup_.ubatch) + setup_.repetitions * test.tokens;
      total += static_cast<int64_t>(setup_.depths.size() * columns_.size()) * work(test, tokens);
    }
    return total;
  }

  // Our exact attention fills fastest. With flash attention the layout of the cache is ours, and
  // is copied; without, V is transposed and llama.cpp has to read the tokens itself.
  bool fill_to(int depth) {
    const auto missing = std::span(filler_).subspan(filled_, static_cast<size_t>(depth) - filled_);
    plugin_->configure(dense_config());
    if (!fill(*ours_, missing, depth, "")) return false;
    if (flash_on_ && depth > 0) flash_on_->copy_tokens_from(*ours_);
    if (flash_off_) {
      plugin_->configure(off_);
      if (!fill(*flash_off_, missing, depth, " again for llama.cpp's fa 0 (--fa 1 skips it)")) {
        return false;
      }
    }
    filled_ = static_cast<size_t>(depth);
    return true;
  }

  bool fill(LlamaContext& context, std::span<const llama_token> tokens, int depth,
            const std::string& why) {
    progress_.set_label("depth " + std::to_string(depth) + ": filling the cache" + why);
    const int64_t before = done_;
    return context.append(tokens, [&](int64_t count) {
      done_ = before + count;
      progress_.update(done_);
    });
  }

  // Empty when interrupted.
  std::vector<BenchSeries> warm_up(const BenchTest& test) {
    std::vector<BenchSeries> all;
    const Tokens tokens = random_tokens(warm_up_tokens(test, setup_.ubatch));
    for (const Column& column : columns_) {
      progress_.set_label(test.name() + ": warm-up");
      plugin_->configure(column.config);
      plugin_->reset_report();
      if (!read(column, test, tokens)) return {};
      advance(test, tokens);
      check_warm_up(column);
      BenchSeries series;
      series.attention = column.attention;
      series.flash_attention = column.flash_attention;
      series.keep = column.keep;
      series.device = column.device;
      series.threads = setup_.threads;
      series.started = utc_now();
      all.push_back(std::move(series));
      column.context->truncate(test.depth);
    }
    return all;
  }

  void advance(const BenchTest& test, const Tokens& tokens) {
    done_ += work(test, static_cast<int>(tokens.size()));
    progress_.update(done_);
  }

  // llama.cpp says only when it plans a new graph, not at each run, which layers we may have.
  void check_warm_up(const Column& column) {
    const nlohmann::json report = plugin_->report();
    check_it_ran(column, report);
    if (column.attention == Attention::kLlama) return;
    for (const auto& decline : report.value("declined", nlohmann::json::array())) {
      warn_once("a part of the attention was left to llama.cpp, in " + column.name() +
                "'s column too: " + decline.value("reason", ""));
    }
    for (const auto& [note, calls] : device_totals(report).notes) {
      warn_once("in the column \"" + column.name() + "\": " + note);
    }
  }

  void warn_once(const std::string& warning) {
    if (!warned_.insert(warning).second) return;
    progress_.clear();
    std::fprintf(stderr, "shadowattn: warning: %s\n", warning.c_str());
  }

  // In turns, every second time in the opposite order, so that what drifts hits all alike.
  bool measure_test(const BenchTest& test, std::vector<BenchSeries>& series) {
    for (int repetition = 0; repetition < setup_.repetitions; ++repetition) {
      const Tokens tokens = random_tokens(test.tokens);
      for (size_t turn = 0; turn < columns_.size(); ++turn) {
        const size_t index = repetition % 2 == 0 ? turn : columns_.size() - 1 - turn;
        progress_.set_label(test.name() + ": " + columns_[index].name() + ", run " +
                            std::to_string(repetition + 1));
        std::optional<BenchRun> run = timed_run(columns_[index], test, tokens);
        if (!run) return false;
        advance(test, tokens);
        series[index].runs.push_back(std::move(*run));
      }
    }
    return true;
  }

  // A new config makes the plug-in start threads anew at its next call: not in the timed run. A
  // device has graphs to compile and times to measure, the gate has times of every kind of lists
  // that the prompt's length makes it think of: milliseconds that a process pays once.
  size_t settling_tokens(const Column& column, const BenchTest& test) const {
    int tokens = 1;
    if (column.device || test.generation) tokens = warm_up_tokens(test, setup_.ubatch);
    const bool gated = column.attention == Attention::kShadow && column.config.engine.gate;
    if (gated && !test.generation) tokens = test.tokens;
    return static_cast<size_t>(tokens);
  }

  // Empty when interrupted.
  std::optional<BenchRun> timed_run(const Column& column, const BenchTest& test,
                                    const Tokens& tokens) {
    plugin_->configure(column.config);
    const size_t settling = settling_tokens(column, test);
    if (!read(column, test, std::span(tokens).first(settling))) return std::nullopt;
    column.context->truncate(test.depth);
    plugin_->reset_report();
    reset_peak_memory();

    const double cpu_before = cpu_seconds();
    const Clock::time_point start = Clock::now();
    const bool complete = read(column, test, tokens);
    const Clock::duration wall = Clock::now() - start;
    const double cpu_after = cpu_seconds();

    if (!complete) return std::nullopt;
    BenchRun run = described(column);
    run.wall_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(wall).count();
    run.stages.other_ms = static_cast<double>(run.wall_ns) / 1e6 - run.stages.attention_ms;
    run.cpu_seconds = cpu_after - cpu_before - run.device.simulation_cpu_ms / 1e3;
    if (run.attention_cpu_seconds) {
      run.outside_cpu_seconds = run.cpu_seconds - *run.attention_cpu_seconds;
    }
    run.kv_bytes = column.context->state_bytes();
    column.context->truncate(test.depth);
    return run;
  }

  bool read(const Column& column, const BenchTest& test, std::span<const llama_token> tokens) {
    LlamaContext& context = *column.context;
    if (!test.generation) {
      if (!context.append(tokens)) return false;
    } else {
      for (const llama_token& token : tokens) {
        if (!context.append({&token, 1})) return false;
      }
    }
    return true;
  }

  BenchRun described(const Column& column) {
    BenchRun run;
    run.peak_memory_bytes = peak_memory_since_reset();
    const nlohmann::json report = plugin_->report();
    check_it_ran(column, report);
    const AttentionTotals totals = attention_totals(report);
    run.visible_pairs = totals.visible_pairs;
    run.kept_pairs = totals.kept_pairs;
    run.dense_reasons = totals.dense_reasons;
    run.stages = {.pilot_ms = 1e3 * totals.pilot_seconds,
                  .select_ms = 1e3 * totals.select_seconds,
                  .attend_ms = 1e3 * totals.attend_seconds,
                  .attention_ms = 1e3 * totals.wall_seconds};
    if (totals.cpu_seconds > 0) run.attention_cpu_seconds = totals.cpu_seconds;
    DeviceTotals device = device_totals(report);
    run.device = device.times;
    run.device_notes = std::move(device.notes);
    return run;
  }

  BenchSetup setup_;
  std::mt19937_64 random_;
  uint32_t vocabulary_;
  Config off_;
  std::optional<PluginControl> loaded_;  // here; else it was there before
  const PluginControl* plugin_;
  std::optional<LlamaContext> flash_off_;
  std::optional<LlamaContext> flash_on_;
  std::optional<LlamaContext> ours_;
  std::vector<Column> columns_;
  Tokens filler_;
  size_t filled_ = 0;
  Progress progress_{"", 1, ""};
  int64_t done_ = 0;
  std::set<std::string> warned_;  // shown already
};

Bench::Bench(LlamaRuntime& runtime, const LlamaModel& model, const BenchSetup& setup,
             const PluginControl* plugin)
    : impl_(std::make_unique<Impl>(runtime, model, setup, plugin)) {}

Bench::~Bench() = default;

bool Bench::measure(const OnTest& on_test) { return impl_->measure(on_test); }

}  // namespace shadowattn::tool
