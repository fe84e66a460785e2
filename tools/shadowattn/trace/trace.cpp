// shadowattn trace: when the device and the CPU's threads did what during one prefill.

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>

#include "common/attention_options.h"
#include "common/failure.h"
#include "common/files.h"
#include "common/input.h"
#include "common/interrupt.h"
#include "common/llama_session.h"
#include "common/plugin_control.h"
#include "common/progress.h"
#include "common/summary.h"
#include "common/text.h"
#include "subcommands.h"
#include "trace/timeline_report.h"
#include "trace/timeline_svg.h"

namespace shadowattn::tool {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr int64_t kDefaultTokens = 4096;  // of the text that comes with shadowattn
constexpr int kMostTokens = 1 << 24;

struct TraceOptions {
  std::string model;     // empty: the default
  std::string document;  // empty: the one that comes with shadowattn
  std::string output;
  std::string svg;
  int layer = -1;       // of the picture; -1: the middle one
  int64_t context = 0;  // 0: all of the text, or as above
  int threads = 0;      // 0: all cores but the device's
  int ubatch = 512;
  bool verbose = false;
  bool json = false;
  AttentionOptions attention{"device=npu-sim,gate=off,attn_error=0,keep=0.2,"};
};

/// One prefill and its timeline.
struct TraceRun {
  std::string pipeline;  ///< "planned"; "" without a device
  double seconds = 0;
  std::string trace;  ///< as the plug-in gave it
  Timeline timeline;
  json report;  ///< the plug-in's
};

bool on_device(const Config& config) { return config.engine.device.name != "cpu"; }

// A simulated device computes on a core of its own, if it is to be believed.
int choose_threads(const TraceOptions& options, const Config& config) {
  if (options.threads > 0) return options.threads;
  return std::max(1, default_threads() - (config.engine.device.name == "npu-sim" ? 1 : 0));
}

std::string pipeline_name(const Config& config) {
  if (!on_device(config)) return "";
  for (const ConfigValue& value : config_values(config)) {
    if (value.key == "pipeline") return value.value;
  }
  return "";
}

std::vector<Config> configs_to_run(const TraceOptions& options) {
  Config config = options.attention.config();
  // Recorded, and handed out on request only: nothing may be left behind when this is interrupted.
  config.trace_path = "/dev/null";
  std::vector<Config> configs = {config};
  if (options.svg.empty() || !on_device(config)) return configs;
  if (config.engine.device.pipeline == PipelineMode::kOff) {
    throw Failure("--svg shows a pipeline above none; give --pipeline fifo or planned, or no --svg",
                  kExitUsage);
  }
  config.engine.device.pipeline = PipelineMode::kOff;
  configs.push_back(config);
  return configs;
}

std::vector<llama_token> tokens_to_read(const TraceOptions& options, const LlamaModel& model,
                                        const std::string& document) {
  std::vector<llama_token> tokens = model.start_tokens();
  const std::vector<llama_token> text = model.tokenize(document);
  tokens.insert(tokens.end(), text.begin(), text.end());
  const auto available = static_cast<int64_t>(tokens.size());
  int64_t wanted = std::min(available, model.train_context());
  if (options.context > 0) wanted = options.context;
  if (options.context == 0 && options.document.empty()) wanted = std::min(wanted, kDefaultTokens);
  if (wanted > available) {
    throw Failure("the text has only " + format_count(available) + " tokens, -c asks for " +
                  format_count(wanted) + "; give a longer text or a smaller -c");
  }
  tokens.resize(static_cast<size_t>(wanted));
  return tokens;
}

void check_layer(const TraceOptions& options, const LlamaModel& model) {
  const int count = llama_model_n_layer(model.get());
  if (options.layer < count) return;
  throw Failure("there is no layer " + std::to_string(options.layer) +
                ": the model has layers 0 to " + std::to_string(count - 1));
}

TraceRun read_traced(LlamaRuntime& runtime, const PluginControl& plugin, const LlamaModel& model,
                     const Config& config, const std::vector<llama_token>& tokens, int ubatch,
                     int threads, const std::function<void(int64_t)>& on_progress) {
  plugin.configure(config);
  LlamaContext context(runtime, model, {static_cast<int64_t>(tokens.size()), ubatch, threads});
  plugin.reset_report();
  plugin.take_trace();
  const Clock::time_point start = Clock::now();
  if (!context.append(tokens, on_progress)) throw Failure("interrupted", interrupted_status());
  TraceRun run;
  run.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  run.pipeline = pipeline_name(config);
  run.trace = plugin.take_trace();
  run.report = plugin.report();
  const json trace = json::parse(run.trace, nullptr, false);
  if (trace.is_discarded()) throw Failure("the plug-in's timeline is not valid JSON");
  run.timeline = parse_timeline(trace);
  return run;
}

// Pages touched, clocks up: else the first run would look slower than the second.
void warm_up(LlamaRuntime& runtime, const PluginControl& plugin, const LlamaModel& model,
             const Config& config, const std::vector<llama_token>& tokens, int ubatch,
             int threads) {
  const size_t count = std::min(tokens.size(), static_cast<size_t>(ubatch));
  plugin.configure(config);
  LlamaContext context(runtime, model, {static_cast<int64_t>(count), ubatch, threads});
  context.append(std::span(tokens).first(count));
}

void check_it_ran(const TraceRun& run) {
  if (!run.timeline.calls.empty()) return;
  throw Failure(
      "the plug-in computed no attention in this model, so there is no timeline; see why with "
      "`shadowattn run --report`");
}

int layer_to_draw(const TraceOptions& options, const Timeline& timeline) {
  std::set<int> sparse;
  for (const TimelineCall& call : timeline.calls) {
    if (call.sparse()) sparse.insert(call.layer);
  }
  if (sparse.empty() || (options.layer >= 0 && !sparse.contains(options.layer))) {
    throw Failure("there is no sparse attention to draw" +
                  (options.layer >= 0 ? " in layer " + std::to_string(options.layer) : "") +
                  "; read more tokens (-c), or attend to fewer (--keep, --floor)");
  }
  if (options.layer >= 0) return options.layer;
  return *std::next(sparse.begin(), static_cast<ptrdiff_t>(sparse.size() / 2));
}

std::string panel_title(const TraceRun& run) {
  if (run.pipeline.empty()) return "estimate on the CPU";
  return run.pipeline == "off" ? "no pipeline: one launch at a time" : "pipeline " + run.pipeline;
}

std::string threads_text(int threads) {
  return std::to_string(threads) + (threads == 1 ? " CPU thread" : " CPU threads");
}

std::string picture(const TraceOptions& options, const LlamaModel& model, const Config& config,
                    const std::vector<TraceRun>& runs, int threads) {
  const int layer = layer_to_draw(options, runs.front().timeline);
  std::vector<TimelinePanel> panels;
  for (const TraceRun& run : runs) {
    const TimelineCall* call = last_full_call(run.timeline, layer);
    if (call == nullptr) continue;  // the device was lost on the way, say
    panels.push_back({panel_title(run), run.timeline.device, *call});
  }
  const TimelineCall& call = panels.front().call;
  const std::string name = std::filesystem::path(model.path()).filename().string();
  std::string subtitle =
      name + ", keep " + format_fixed(config.engine.keep, 2) + ", " + threads_text(threads);
  if (config.engine.device.name == "npu-sim") subtitle += "; npu-sim is a simulation";
  return timeline_svg("Attention of layer " + std::to_string(layer) + ", " +
                          format_count(call.rows) + " tokens at the end of " +
                          format_count(static_cast<int64_t>(call.keys)),
                      subtitle, panels);
}

void print_run(const TraceRun& run, const TraceOptions& options, size_t tokens) {
  const TimelineSums sums = sum_up(run.timeline.calls);
  std::printf("%s%s tokens in %s; sparse attention %s in %s calls, left out: %s dense calls\n",
              run.pipeline.empty() ? "" : ("pipeline " + run.pipeline + ": ").c_str(),
              format_count(static_cast<int64_t>(tokens)).c_str(),
              format_seconds(run.seconds).c_str(),
              format_seconds(static_cast<double>(sums.wall_ns) / 1e9).c_str(),
              format_count(sums.calls).c_str(), format_count(sums.dense_calls).c_str());
  std::printf("%s", timeline_table(sums, run.timeline.device).c_str());
  if (options.verbose) std::printf("\n%s", layer_table(run.timeline).c_str());
}

json run_json(const TraceRun& run) {
  json one = timeline_json(run.timeline);
  one["pipeline"] = run.pipeline;
  one["prefill_s"] = run.seconds;
  one["note"] = run.timeline.note;
  one["totals"] = run.report.value("totals", json::object());
  return one;
}

void print(const std::vector<TraceRun>& runs, const TraceOptions& options, const LlamaModel& model,
           size_t tokens, int threads) {
  if (options.json) {
    json all = {{"model", model.path()},
                {"tokens", tokens},
                {"threads", threads},
                {"config", runs.front().report.value("config", json::object())},
                {"runs", json::array()}};
    for (const TraceRun& run : runs) all["runs"].push_back(run_json(run));
    std::printf("%s\n", json_text(all).c_str());
    return;
  }
  for (const TraceRun& run : runs) {
    if (&run != &runs.front()) std::printf("\n");
    print_run(run, options, tokens);
  }
}

// What a reader of the table must know, on standard error.
void print_notes(const std::vector<TraceRun>& runs, const Config& config, int threads) {
  for (const TraceRun& run : runs) {
    if (!run.timeline.note.empty()) std::fprintf(stderr, "%s\n", run.timeline.note.c_str());
  }
  if (config.engine.device.name != "npu-sim") return;
  std::fprintf(stderr, "npu-sim is a simulation on a core of this machine, not a measured NPU\n");
  if (threads < default_threads()) return;
  std::fprintf(stderr,
               "shadowattn: warning: all cores have threads, so the simulated device shares one; "
               "give a smaller -t\n");
}

int trace(const TraceOptions& options) {
  std::vector<Config> configs = configs_to_run(options);
  check_device(configs.front());
  for (const std::string& path : {options.output, options.svg}) {
    if (!path.empty()) check_writable(path);
  }
  const std::string path = model_or_default(options.model);
  check_model_file(path);
  const std::string document = load_document(document_or_default(options.document)).text;
  const int threads = choose_threads(options, configs.front());
  const InterruptGuard guard;
  LlamaRuntime runtime;
  const std::string profile = options.attention.config_for(path).profile_path;
  for (Config& config : configs) config.profile_path = profile;
  const PluginControl plugin(runtime);
  const std::unique_ptr<LlamaModel> model = load_model(runtime, path);
  check_layer(options, *model);
  const std::vector<llama_token> tokens = tokens_to_read(options, *model, document);

  std::vector<TraceRun> runs;
  {
    const auto count = static_cast<int64_t>(tokens.size());
    Progress progress("reading", count * static_cast<int64_t>(configs.size()), "tokens");
    warm_up(runtime, plugin, *model, configs.front(), tokens, options.ubatch, threads);
    for (const Config& config : configs) {
      const int64_t before = count * static_cast<int64_t>(runs.size());
      runs.push_back(read_traced(runtime, plugin, *model, config, tokens, options.ubatch, threads,
                                 [&](int64_t done) { progress.update(before + done); }));
      check_it_ran(runs.back());
    }
  }
  std::string drawn;
  if (!options.svg.empty()) drawn = picture(options, *model, configs.front(), runs, threads);
  if (!options.output.empty()) write_file_atomically(options.output, runs.front().trace);
  if (!options.svg.empty()) write_file_atomically(options.svg, drawn);
  print(runs, options, *model, tokens.size(), threads);
  print_notes(runs, configs.front(), threads);
  return kExitOk;
}

void add_output_options(CLI::App& app, TraceOptions& options) {
  app.add_option("-o,--output", options.output,
                 "write the timeline for ui.perfetto.dev or chrome://tracing (JSON)")
      ->type_name("FILE");
  app.add_option("--svg", options.svg,
                 "draw one layer's last full batch, with the pipeline above and without it below; "
                 "reads the text twice")
      ->type_name("FILE");
  app.add_option("--layer", options.layer, "layer to draw [the middle one]")
      ->check(CLI::Range(0, 1 << 16).description(""))
      ->type_name("N");
  app.add_flag("-v,--verbose", options.verbose, "a table of the layers too");
  app.add_flag("--json", options.json, "print the tables as JSON");
}

}  // namespace

Action add_trace(CLI::App& app) {
  const auto options = std::make_shared<TraceOptions>();
  add_model_option(app, options->model);
  app.add_option("-f,--file", options->document,
                 "text to read; - is standard input [one that comes with shadowattn]")
      ->type_name("FILE");
  app.add_option("-c,--context", options->context,
                 "tokens to read [all of the text; 4096 without -f]")
      ->check(CLI::Range(1, kMostTokens).description(""))
      ->type_name("N");
  app.add_option("-t,--threads", options->threads,
                 "threads [one per core; npu-sim is left a core of its own]")
      ->check(CLI::Range(1, kMostThreads).description(""))
      ->type_name("N");
  app.add_option("-b,--ubatch", options->ubatch, "tokens processed at once [512]")
      ->check(CLI::Range(1, 65536).description(""))
      ->type_name("N");
  add_output_options(app, *options);
  options->attention.add_to(app);
  options->attention.add_config_to(app, {"mode", "threads", "report", "trace"});
  return [options] { return trace(*options); };
}

}  // namespace shadowattn::tool
