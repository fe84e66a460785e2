// shadowattn bench: speed of llama.cpp's attention and of ours, side by side, over depth.

#include <ggml-backend.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "bench/depth_curve.h"
#include "bench/report.h"
#include "bench/run.h"
#include "common/attention_options.h"
#include "common/core_choice.h"
#include "common/failure.h"
#include "common/files.h"
#include "common/input.h"
#include "common/interrupt.h"
#include "common/version.h"
#include "subcommands.h"

namespace shadowattn::tool {
namespace {

constexpr int kMostTokens = 1 << 24;
constexpr int kMostRepetitions = 1000;
constexpr int kMostCores = 1024;
constexpr int kDefaultDepths[] = {0, 2048, 4096, 8192};
constexpr int kDepthStep = 512;
constexpr char kNoDevice[] = "cpu";
constexpr char kSimulation[] = "npu-sim";

struct BenchOptions {
  std::string model;     // empty: the default one
  std::string document;  // empty: the one that comes with shadowattn
  std::string format = "md";
  std::string depth_curve;
  std::string flash = "both";
  std::string type_k = "f16";
  std::string type_v = "f16";
  std::vector<int> prompts = {512};
  std::vector<int> generations = {32};
  std::vector<int> depths;  // empty: kDefaultDepths as far as model and text reach
  std::vector<std::string> columns = {"dense", "shadow"};
  std::vector<double> keeps;
  std::vector<std::string> pipelines = {"off", "fifo", "planned"};
  std::vector<int> fuses = {0};
  int cpus = 0;  // 0: all
  BenchSetup setup;
  AttentionOptions attention;
};

void sort_unique(std::vector<int>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

ggml_type cache_type(const std::string& name) {
  return name == "q8_0" ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
}

// Without flash attention llama.cpp takes no quantised V cache, and there is then no operator
// that the plug-in could take either.
void set_flash(const BenchOptions& options, BenchSetup& setup) {
  const bool quantised = options.type_k != "f16" || options.type_v != "f16";
  if (quantised && options.flash == "0") {
    throw Failure("--fa 0 cannot be measured with a quantised KV cache; leave --fa away",
                  kExitUsage);
  }
  setup.flash_off = options.flash != "1" && !quantised;
  setup.flash_on = options.flash != "0";
}

PipelineMode pipeline_mode(const std::string& name) {
  if (name == "planned") return PipelineMode::kPlanned;
  return name == "off" ? PipelineMode::kOff : PipelineMode::kFifo;
}

// Every --pipeline with every --fuse.
std::vector<DeviceOptions> device_columns(const BenchOptions& options, const Config& config) {
  std::vector<DeviceOptions> columns;
  if (config.engine.device.name == kNoDevice) return columns;
  for (const std::string& pipeline : options.pipelines) {
    for (const int fuse : options.fuses) {
      DeviceOptions device = config.engine.device;
      device.pipeline = pipeline_mode(pipeline);
      device.fuse_heads = fuse;
      columns.push_back(std::move(device));
    }
  }
  return columns;
}

// Before any thread starts, for threads inherit what their parent may use.
void set_cores(const BenchOptions& options, BenchSetup& setup) {
  if (setup.threads == 0) setup.threads = options.cpus > 0 ? options.cpus : default_threads();
  if (options.cpus == 0) return;
  DeviceOptions& device = setup.config.engine.device;
  const CoreChoice cores =
      choose_cores(usable_cores(), options.cpus, device.name == kSimulation, device.device_cpu);
  device.device_cpu = cores.device;
  restrict_to_cores(cores.cpu);
}

// --keep alone means exactly these shares.
std::vector<ShadowDial> dials(const BenchOptions& options, const EngineOptions& engine) {
  if (options.keeps.empty()) {
    return {{engine.keep, engine.attn_error, engine.output_error, engine.gate}};
  }
  const double attn_error = options.attention.given("attn_error") ? engine.attn_error : 0.0;
  std::vector<ShadowDial> all;
  for (const double keep : options.keeps) all.push_back({keep, attn_error, 0, engine.gate});
  return all;
}

BenchSetup make_setup(const BenchOptions& options) {
  BenchSetup setup = options.setup;
  setup.config = options.attention.config();
  setup.prompts = options.prompts;
  setup.generations = options.generations;
  std::erase(setup.prompts, 0);
  std::erase(setup.generations, 0);
  setup.depths = options.depths;
  for (std::vector<int>* list : {&setup.prompts, &setup.generations, &setup.depths}) {
    sort_unique(*list);
  }
  if (setup.prompts.empty() && setup.generations.empty()) {
    throw Failure("there is nothing to measure: give -p or -n above 0", kExitUsage);
  }
  setup.type_k = cache_type(options.type_k);
  setup.type_v = cache_type(options.type_v);
  set_flash(options, setup);
  setup.dense = has(options.columns, "dense");
  if (has(options.columns, "shadow")) {
    setup.dials = dials(options, setup.config.engine);
  }
  set_cores(options, setup);
  if (!setup.dials.empty()) setup.devices = device_columns(options, setup.config);
  return setup;
}

BenchEnvironment environment_of(const BenchOptions& options, const BenchSetup& setup,
                                const LlamaModel& model, const std::string& document) {
  ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  return {.model_filename = model.path(),
          .model_type = model.description(),
          .model_size = static_cast<int64_t>(llama_model_size(model.get())),
          .model_params = static_cast<int64_t>(llama_model_n_params(model.get())),
          .threads = setup.threads,
          .cpus = options.cpus,
          .device = setup.devices.empty() ? "" : setup.config.engine.device.name,
          .device_cpu = setup.config.engine.device.device_cpu,
          .ubatch = setup.ubatch,
          .type_k = options.type_k,
          .type_v = options.type_v,
          .cpu = ggml_backend_dev_description(cpu),
          .version = program_version(),
          .llama = llama_version(),
          .llama_commit = llama_commit(),
          .text = std::filesystem::path(document).filename().string()};
}

void warn_beyond_training(const BenchSetup& setup, const LlamaModel& model) {
  if (setup.context_tokens() <= model.train_context()) return;
  std::fprintf(stderr,
               "shadowattn: warning: the model was trained for %lld tokens, and %lld are measured; "
               "the times hold, what is attended to may not be typical\n",
               static_cast<long long>(model.train_context()),
               static_cast<long long>(setup.context_tokens()));
}

// What is read: `document` from its start, behind the model's start token.
std::vector<llama_token> tokens_to_read(const LlamaModel& model, const std::string& document) {
  std::vector<llama_token> tokens = model.start_tokens();
  const std::vector<llama_token> text = model.tokenize(document);
  tokens.insert(tokens.end(), text.begin(), text.end());
  return tokens;
}

// The default depths; of those that do not fit the largest that does, in steps.
std::vector<int> default_depths(const BenchSetup& setup, const LlamaModel& model) {
  const int64_t room =
      std::min<int64_t>(model.train_context(), static_cast<int64_t>(setup.text.size())) -
      setup.context_tokens();
  const auto deepest = static_cast<int>(std::max<int64_t>(0, room / kDepthStep * kDepthStep));
  std::vector<int> depths;
  for (const int depth : kDefaultDepths) depths.push_back(std::min(depth, deepest));
  sort_unique(depths);
  return depths;
}

// Which of llama.cpp's two kinds is faster may change with depth; it is one line all the same.
std::string curve_label(const BenchRow& row) {
  return row.attention == Attention::kLlama ? "llama.cpp" : row.label();
}

std::string curve(const BenchSetup& setup, const BenchEnvironment& environment,
                  const std::vector<BenchRow>& rows) {
  std::vector<CurvePanel> panels;
  for (const bool generation : {false, true}) {
    const std::vector<int>& sizes = generation ? setup.generations : setup.prompts;
    for (const int tokens : sizes) {
      CurvePanel panel;
      for (const BenchRow& row : rows) {
        if (row.test.generation != generation || row.test.tokens != tokens) continue;
        panel.title = (generation ? "decode, " : "prefill, ") + row.test.kind();
        const std::string label = curve_label(row);
        auto line = std::find_if(panel.lines.begin(), panel.lines.end(),
                                 [&](const CurveLine& one) { return one.label == label; });
        if (line == panel.lines.end()) line = panel.lines.insert(line, {label, {}});
        line->points.push_back({static_cast<double>(row.test.depth), row.ts.median});
      }
      panels.push_back(std::move(panel));
    }
  }
  const std::string name = std::filesystem::path(environment.model_filename).filename().string();
  return depth_curve_svg(name + " (" + environment.model_type + "), " +
                             std::to_string(environment.threads) + " threads, " + environment.cpu,
                         panels);
}

int bench(const BenchOptions& options) {
  BenchSetup setup = make_setup(options);
  const std::string document = document_or_default(options.document);
  const std::string path = model_or_default(options.model);
  if (!options.depth_curve.empty()) check_writable(options.depth_curve);
  check_device(setup.config);
  check_model_file(path);
  const std::string text = load_document(document).text;
  const InterruptGuard guard;
  LlamaRuntime runtime;
  setup.config.profile_path = options.attention.config_for(path).profile_path;
  const std::unique_ptr<LlamaModel> model = load_model(runtime, path);
  setup.text = tokens_to_read(*model, text);
  if (setup.depths.empty()) setup.depths = default_depths(setup, *model);
  warn_beyond_training(setup, *model);
  const BenchEnvironment environment = environment_of(options, setup, *model, document);
  const auto printer = make_bench_printer(options.format, environment, stdout);
  std::vector<BenchRow> all;
  const auto on_test = [&](const BenchTest& test, const std::vector<BenchSeries>& series) {
    for (BenchRow& row : bench_rows(test, series)) {
      printer->add(row);
      all.push_back(std::move(row));
    }
  };
  Bench measurement(runtime, *model, setup);
  bool complete = false;
  try {
    complete = measurement.measure(on_test);
  } catch (...) {
    printer->finish();
    throw;
  }
  printer->finish();
  if (!complete) throw Failure("interrupted", interrupted_status());
  if (!options.depth_curve.empty()) {
    write_file_atomically(options.depth_curve, curve(setup, environment, all));
  }
  return kExitOk;
}

void add_list(CLI::App& app, const std::string& flag, std::vector<int>& list,
              const std::string& help) {
  app.add_option(flag, list, help)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(0, kMostTokens).description(""))
      ->type_name("N,N");
}

void add_choice(CLI::App& app, const std::string& flag, std::string& value,
                const std::vector<std::string>& choices, const std::string& help) {
  app.add_option(flag, value, help)->check(CLI::IsMember(choices).description(""))->type_name("");
}

void add_columns(CLI::App& app, BenchOptions& options) {
  app.add_option("--attn", options.columns, "columns beside llama.cpp's [dense,shadow]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember(std::vector<std::string>{"dense", "shadow"}).description(""))
      ->type_name("");
  app.add_option("--keep", options.keeps,
                 "shares of the tokens to attend to, a column each [as few as --attn-error lets]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check([](const std::string& value) { return config_problem("keep", value); })
      ->type_name("X,X");
  app.add_option("--pipeline", options.pipelines, "with a device, a column each [off,fifo,planned]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check([](const std::string& value) { return config_problem("pipeline", value); })
      ->type_name("X,X");
  add_list(app, "--fuse", options.fuses,
           "with a device, KV heads per launch, a column each; 0: all it takes [0]");
  app.add_option("--cpus", options.cpus,
                 "use only the first N cores, and play npu-sim on another one [all]")
      ->check(CLI::Range(1, kMostCores).description(""))
      ->type_name("N");
  add_choice(app, "--fa", options.flash, {"0", "1", "both"},
             "llama.cpp's flash attention: off, on, or the faster of both [both]");
}

}  // namespace

Action add_bench(CLI::App& app) {
  const auto options = std::make_shared<BenchOptions>();
  add_model_option(app, options->model);
  app.add_option("-f,--file", options->document,
                 "text that is read; - is standard input [one that comes with shadowattn]")
      ->type_name("FILE");
  add_list(app, "-p,--n-prompt", options->prompts, "tokens of a prompt; 0: no such test [512]");
  add_list(app, "-n,--n-gen", options->generations, "tokens to decode; 0: no such test [32]");
  add_list(
      app, "-d,--n-depth", options->depths,
      "tokens that are in the cache before [0,2048,4096,8192, as far as the model and the text "
      "reach]");
  add_columns(app, *options);
  add_threads_option(app, options->setup.threads);
  app.get_option("--threads")->description("threads [one per core, or --cpus]");
  app.add_option("-r,--repetitions", options->setup.repetitions, "runs of each test [3]")
      ->check(CLI::Range(1, kMostRepetitions).description(""))
      ->type_name("N");
  app.add_option("-b,--ubatch", options->setup.ubatch, "tokens processed at once [512]")
      ->check(CLI::Range(1, 65536).description(""))
      ->type_name("N");
  add_choice(app, "-o,--output", options->format, {"md", "json", "csv"}, "md, json or csv [md]");
  app.add_option("--depth-curve", options->depth_curve, "draw tokens/s over depth, SVG")
      ->type_name("FILE");
  add_choice(app, "--cache-type-k", options->type_k, {"f16", "q8_0"},
             "-ctk: type of the keys in the cache: f16, q8_0 [f16]");
  add_choice(app, "--cache-type-v", options->type_v, {"f16", "q8_0"},
             "-ctv: type of the values in the cache: f16, q8_0 [f16]");
  options->attention.add_errors_to(app);
  options->attention.add_shared_to(app);
  options->attention.add_config_to(
      app, {"mode", "keep", "min_rows", "threads", "report", "trace", "pipeline", "fuse_heads"});
  options->setup.threads = 0;
  return [options] { return bench(*options); };
}

}  // namespace shadowattn::tool
