#include "bench/run.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <set>

#include "bench/kv_state.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/machine.h"
#include "common/process_usage.h"
#include "common/progress.h"
#include "common/summary.h"
#include "common/text.h"

namespace shadowattn::tool {
namespace {

using Clock = std::chrono::steady_clock;
using Tokens = std::span<const llama_token>;

constexpr int64_t kContextStep = 256;  // llama.cpp rounds contexts up to this
constexpr int kWarmUpTokens = 4;       // of a generation …
constexpr int kWarmUpPrompt = 64;      // … and of a prompt
constexpr int64_t kDecodeWeight = 8;   // a single token takes about as long as so many of a prompt
// llama.cpp's slower kind is timed once where its first run is slower by so much.
constexpr double kClearlySlower = 1.25;

/// One way to attend, with the context in which it does.
struct Column {
  Attention attention = Attention::kLlama;
  bool flash_attention = true;
  double keep = 1;
  std::optional<DeviceUse> device;
  Config config;  ///< of the plug-in
  std::unique_ptr<LlamaContext> context;

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
      : setup_(setup), plugin_(plugin) {
    const auto available = static_cast<int64_t>(setup_.text.size());
    if (available < setup_.context_tokens()) {
      throw Failure("the text has " + format_count(available) +
                    " tokens, and depth and test need " + format_count(setup_.context_tokens()) +
                    "; give a longer text with -f, or a smaller -d");
    }
    make_columns(runtime, model);
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
  // Contexts of llama.cpp's columns are made before the plug-in is loaded, so that it is no part of
  // them; when it is there already, it is switched off for them. Each of ours has its own too, and
  // so keeps what its engine has learnt while others take their turns.
  void make_columns(LlamaRuntime& runtime, const LlamaModel& model) {
    Config off;
    off.enabled = false;
    if (plugin_ == nullptr && PluginControl::loaded_by_host()) load_plugin(runtime);
    if (setup_.flash_off) columns_.push_back({Attention::kLlama, false, 1, {}, off, {}});
    if (setup_.flash_on) columns_.push_back({Attention::kLlama, true, 1, {}, off, {}});
    for (Column& column : columns_) make_context(column, runtime, model);
    const size_t llamas = columns_.size();
    if (plugin_ == nullptr) load_plugin(runtime);
    if (setup_.dense) columns_.push_back({Attention::kDense, true, 1, {}, dense_config(), {}});
    for (const ShadowDial& dial : setup_.dials) add_shadow_columns(dial);
    for (size_t i = llamas; i < columns_.size(); ++i) make_context(columns_[i], runtime, model);
    filler_ = &columns_[llamas];
    if (setup_.dense) return;
    own_filler_ = {Attention::kDense, true, 1, {}, dense_config(), {}};
    make_context(own_filler_, runtime, model);
    filler_ = &own_filler_;
  }

  void add_shadow_columns(const ShadowDial& dial) {
    Config config = our_config(Mode::kShadow, dial);
    columns_.push_back({Attention::kShadow, true, dial.keep, std::nullopt, config, {}});
    if (!dial.devices) return;
    for (const DeviceOptions& device : setup_.devices) {
      config.engine.device = device;
      columns_.push_back({Attention::kShadow, true, dial.keep, use_of(device), config, {}});
    }
  }

  void make_context(Column& column, LlamaRuntime& runtime, const LlamaModel& model) const {
    if (plugin_ != nullptr) plugin_->configure(column.config);
    const ContextOptions options = {
        .tokens = (setup_.context_tokens() + kContextStep - 1) / kContextStep * kContextStep,
        .ubatch = setup_.ubatch,
        .threads = setup_.threads,
        .flash_attention = column.flash_attention,
        .type_k = setup_.type_k,
        .type_v = setup_.type_v};
    column.context = std::make_unique<LlamaContext>(runtime, model, options);
  }

  void load_plugin(LlamaRuntime& runtime) { plugin_ = &loaded_.emplace(runtime); }

  // Decoding has one row, and shall go through the plug-in too.
  Config our_config(Mode mode, const ShadowDial& dial) const {
    Config config = setup_.config;
    config.engine.device = {};
    config.enabled = true;
    config.min_rows = 1;
    config.engine.mode = mode;
    config.engine.keep = dial.keep;
    config.engine.attn_error = dial.attn_error;
    config.engine.output_error = dial.output_error;
    config.engine.gate = dial.gate;
    return config;
  }
  Config dense_config() const { return our_config(Mode::kDense, {}); }

  // The gate has times of every kind of lists to measure that the prompt's length makes it think
  // of, a device has graphs to compile: what a process pays once is no part of a timed run.
  int warm_up_tokens(const Column& column, const BenchTest& test) const {
    if (test.generation) return std::min(test.tokens, kWarmUpTokens);
    const bool gated = column.attention == Attention::kShadow && column.config.engine.gate;
    return std::min(test.tokens, gated || column.device ? test.tokens : kWarmUpPrompt);
  }

  int64_t total_work() const {
    int64_t total = setup_.depths.empty() ? 0 : setup_.depths.back();
    for (const BenchTest& test : tests_at(setup_, 0)) {
      for (const Column& column : columns_) {
        const int tokens = warm_up_tokens(column, test) + setup_.repetitions * test.tokens;
        total += static_cast<int64_t>(setup_.depths.size()) * work(test, tokens);
      }
    }
    return total;
  }

  // Our exact attention fills fastest; the others take over what it has read.
  bool fill_to(int depth) {
    const Tokens text(setup_.text);
    const auto end = static_cast<size_t>(depth);
    if (!fill(*filler_, text.subspan(filled_, end - filled_), depth, "")) return false;
    filled_ = end;
    if (depth == 0) return true;
    const std::vector<uint8_t> state = filler_->context->save_tokens();
    for (Column& column : columns_) {
      if (&column == filler_ || take_over(column, state)) continue;
      // It has to read for itself: a state of a kind that is not known.
      column.context->truncate(0);
      if (!fill(column, text.first(end), depth, " again for " + column.name())) return false;
    }
    return true;
  }

  static bool take_over(Column& column, const std::vector<uint8_t>& state) {
    if (column.flash_attention) return column.context->restore_tokens(state);
    const auto by_channel = with_values_by_channel(state);
    return by_channel && column.context->restore_tokens(*by_channel);
  }

  bool fill(Column& column, Tokens tokens, int depth, const std::string& why) {
    plugin_->configure(column.config);
    progress_.set_label("depth " + std::to_string(depth) + ": filling the cache" + why);
    const int64_t before = done_;
    return column.context->append(tokens, [&](int64_t count) {
      done_ = before + count;
      progress_.update(done_);
    });
  }

  // What comes after `depth` tokens of the text.
  Tokens tokens_of(const BenchTest& test) const {
    return Tokens(setup_.text)
        .subspan(static_cast<size_t>(test.depth), static_cast<size_t>(test.tokens));
  }

  // Empty when interrupted.
  std::vector<BenchSeries> warm_up(const BenchTest& test) {
    std::vector<BenchSeries> all;
    for (Column& column : columns_) {
      const auto count = static_cast<size_t>(warm_up_tokens(column, test));
      const Tokens tokens = tokens_of(test).first(count);
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

  void advance(const BenchTest& test, Tokens tokens) {
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

  // Of llama.cpp's two kinds only the faster is compared with.
  static bool clearly_slower(const BenchSeries& one, const std::vector<BenchSeries>& series) {
    if (one.attention != Attention::kLlama) return false;
    const auto first = [](const BenchSeries& any) {
      return static_cast<double>(any.runs.front().wall_ns);
    };
    return std::any_of(series.begin(), series.end(), [&](const BenchSeries& other) {
      return other.attention == Attention::kLlama && first(one) > kClearlySlower * first(other);
    });
  }

  // In turns, every second time in the opposite order, so that what drifts hits all alike.
  bool measure_test(const BenchTest& test, std::vector<BenchSeries>& series) {
    const Tokens tokens = tokens_of(test);
    for (int repetition = 0; repetition < setup_.repetitions; ++repetition) {
      for (size_t turn = 0; turn < columns_.size(); ++turn) {
        const size_t index = repetition % 2 == 0 ? turn : columns_.size() - 1 - turn;
        Column& column = columns_[index];
        progress_.set_label(test.name() + ": " + column.name() + ", run " +
                            std::to_string(repetition + 1));
        if (repetition == 0 || !clearly_slower(series[index], series)) {
          std::optional<BenchRun> run = timed_run(column, test, tokens);
          if (!run) return false;
          series[index].runs.push_back(std::move(*run));
        }
        advance(test, tokens);
      }
    }
    return true;
  }

  // Empty when interrupted.
  std::optional<BenchRun> timed_run(Column& column, const BenchTest& test, Tokens tokens) {
    plugin_->configure(column.config);
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

  static bool read(Column& column, const BenchTest& test, Tokens tokens) {
    LlamaContext& context = *column.context;
    if (!test.generation) return context.append(tokens);
    for (const llama_token& token : tokens) {
      if (!context.append({&token, 1})) return false;
    }
    return true;
  }

  BenchRun described(const Column& column) const {
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
    if (totals.calls > 0) {
      // Calls of few rows are too short for the process's clock. All threads take part in them, or
      // wait by spinning.
      run.attention_cpu_seconds =
          totals.cpu_seconds > 0 ? totals.cpu_seconds : totals.wall_seconds * setup_.threads;
    }
    DeviceTotals device = device_totals(report);
    run.device = device.times;
    run.device_notes = std::move(device.notes);
    return run;
  }

  BenchSetup setup_;
  std::optional<PluginControl> loaded_;  // here; else it was there before
  const PluginControl* plugin_;
  std::vector<Column> columns_;
  Column own_filler_;         // where no column is dense
  Column* filler_ = nullptr;  // the context that reads, of ours and dense
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
