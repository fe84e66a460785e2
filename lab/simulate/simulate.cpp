// shadowattn-lab simulate: how long a SoC would take to read a prompt, by published figures.

#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "common/failure.h"
#include "common/files.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/summary.h"
#include "common/text.h"
#include "lab/subcommands.h"
#include "simulate/call_schedule.h"
#include "simulate/gguf_shape.h"
#include "simulate/simulate_json.h"
#include "simulate/simulate_report.h"
#include "trace/timeline_svg.h"

namespace shadowattn::tool {
namespace {

using namespace simulate;

constexpr int64_t kWays = 5;  // of reading a prompt that stand side by side

struct SimulateOptions {
  std::string soc;
  std::string shape = "qwen2.5-1.5b";
  std::string output;
  std::string svg;
  int dense_cores = 0;  // 0: not given
  int cores = 0;
  bool plan = false;
  bool json = false;
  bool verbose = false;
  PrefillOptions prefill;
};

/// Everything that was predicted.
struct Simulated {
  SocModel soc;
  ModelShape shape;
  std::vector<SimulatedWay> ways;
  std::vector<TtftComparison> published;
  std::vector<SpeedupComparison> speedups;
  std::optional<Plan> plan;
};

ModelShape shape_to_predict(const std::string& text) {
  const bool file = text.ends_with(".gguf") || std::filesystem::is_regular_file(text);
  return file ? read_gguf_shape(text) : parse_shape(text);
}

PrefillOptions prefill_options(const SimulateOptions& options) {
  PrefillOptions prefill = options.prefill;
  if (options.cores > 0) prefill.cores = prefill.dense_cores = options.cores;
  if (options.dense_cores > 0) prefill.dense_cores = options.dense_cores;
  return prefill;
}

void stop_if_interrupted() {
  if (interrupted()) throw Failure("interrupted", interrupted_status());
}

std::vector<SimulatedWay> predict_ways(const SocModel& soc, const ModelShape& shape,
                                       const PrefillOptions& options) {
  std::vector<SimulatedWay> ways;
  Progress progress("predicting", 1, "");
  const auto add = [&](const std::string& name, const PrefillOptions& way) {
    const Prediction prediction =
        predict_prefill(soc, shape, way, [&](int64_t chunk, int64_t chunks) {
          stop_if_interrupted();
          progress.set_total(chunks * kWays);
          progress.update(chunks * std::ssize(ways) + chunk);
        });
    ways.push_back({name, way, prediction});
  };
  PrefillOptions way = options;
  for (const PipelineMode pipeline :
       {PipelineMode::kPlanned, PipelineMode::kFifo, PipelineMode::kOff}) {
    way.pipeline = pipeline;
    add(name_of(pipeline), way);
  }
  way.pilot = Pilot::kCpu;
  add("CPU estimate", way);
  way.attention = Attention::kDense;
  add("dense", way);
  return ways;
}

Plan predict_plan(const Simulated& simulated, const PrefillOptions& options) {
  Progress progress("planning", 1, "predictions");
  return make_plan(simulated.soc, simulated.shape, options, [&](int64_t done, int64_t all) {
    stop_if_interrupted();
    progress.set_total(all);
    progress.update(done);
  });
}

std::string cores_text(const PrefillOptions& options) {
  return std::to_string(options.cores) + " " + name_of(options.core) +
         (options.cores == 1 ? " core" : " cores") +
         " (dense attention: " + std::to_string(options.dense_cores) + ")";
}

/// The last chunk in a sparse layer.
std::string picture(const Simulated& simulated, const PrefillOptions& options) {
  const int64_t rows = (options.context - 1) % options.chunk + 1;
  const CallWork call =
      cut_call(simulated.soc, simulated.shape, options, options.context - rows, rows);
  std::vector<TimelinePanel> panels;
  for (const PipelineMode pipeline :
       {PipelineMode::kPlanned, PipelineMode::kFifo, PipelineMode::kOff}) {
    const TimelineCall drawn = schedule_call(call, pipeline, options.cores);
    panels.push_back({"pipeline " + name_of(pipeline), "NPU", drawn});
  }
  return timeline_svg("Predicted: attention of a sparse layer, " + format_count(rows) +
                          " tokens at the end of " + format_count(options.context),
                      simulated.shape.name + " on " + simulated.soc.name + ", " +
                          cores_text(options) + "; nothing ran on a phone",
                      panels);
}

void print_predictions(const Simulated& simulated, const PrefillOptions& options) {
  const Prediction& planned = simulated.ways.front().prediction;
  std::printf("%s on %s\n%s tokens in chunks of %s, %s\n", simulated.shape.name.c_str(),
              simulated.soc.name.c_str(), format_count(options.context).c_str(),
              format_count(options.chunk).c_str(), cores_text(options).c_str());
  std::printf("%s of %s layers are dense, lists in the others keep %s of the tokens\n",
              format_count(planned.dense_layers).c_str(),
              format_count(simulated.shape.layers).c_str(),
              format_percent(planned.sparse_share).c_str());
  std::printf("A prediction: nothing ran on a phone. Figures of the SoC: %s.\n\n%s\n",
              origins_text(simulated.soc).c_str(), stages_table(simulated.ways).c_str());
  for (const SimulatedWay& way : simulated.ways) {
    if (way.options.attention == Attention::kSparse && way.options.pilot != Pilot::kCpu) continue;
    std::printf("planned is %s times as fast as %s\n",
                format_fixed(way.prediction.ttft_ns() / planned.ttft_ns(), 2).c_str(),
                way.name.c_str());
  }
  for (const std::string& reason : planned.extrapolations) {
    std::printf("extrapolated, no published time covers it: %s\n", reason.c_str());
  }
  std::printf("\nPipeline planned, a layer at a time:\n%s", layer_table(planned).c_str());
}

void print_published(const Simulated& simulated, bool all) {
  const std::vector<TtftComparison> rows =
      all ? simulated.published : compare_with_published(simulated.soc, simulated.shape);
  if (!rows.empty()) {
    std::printf("\nBeside published times, with the published settings (%s):\n%s",
                kPublishedTtftSource, published_table(rows).c_str());
  }
  if (!simulated.published.empty()) {
    std::printf("\nHow far off the published rows of all models are:\n%s",
                error_text(simulated.published).c_str());
  }
  if (simulated.speedups.empty()) return;
  std::printf("\nThe paper's speedups, one middle core (arXiv 2508.16703):\n%s",
              speedup_table(simulated.speedups).c_str());
}

void print(const Simulated& simulated, const SimulateOptions& options,
           const PrefillOptions& prefill, const std::string& report) {
  if (options.json) {
    std::printf("%s\n", report.c_str());
    return;
  }
  print_predictions(simulated, prefill);
  if (options.verbose) std::printf("\n%s", figures_table(simulated.soc).c_str());
  print_published(simulated, options.verbose);
  if (simulated.plan) std::printf("\n%s", plan_text(*simulated.plan).c_str());
}

int run_simulate(const SimulateOptions& options) {
  for (const std::string& path : {options.output, options.svg}) {
    if (!path.empty()) check_writable(path);
  }
  const InterruptGuard guard;
  Simulated simulated;
  simulated.soc = load_soc_model(options.soc);
  simulated.shape = shape_to_predict(options.shape);
  const PrefillOptions prefill = prefill_options(options);
  simulated.ways = predict_ways(simulated.soc, simulated.shape, prefill);
  simulated.published = compare_with_published(simulated.soc);
  simulated.speedups = compare_paper_speedups(simulated.soc);
  if (options.plan) simulated.plan = predict_plan(simulated, prefill);
  const std::string report =
      json_text(simulate_json(simulated.soc, simulated.shape, simulated.ways, simulated.published,
                              simulated.speedups, simulated.plan ? &*simulated.plan : nullptr));
  if (!options.svg.empty()) write_file_atomically(options.svg, picture(simulated, prefill));
  if (!options.output.empty()) write_file_atomically(options.output, report + "\n");
  print(simulated, options, prefill, report);
  return kExitOk;
}

template <typename Choice>
void add_choice(CLI::App& app, const std::string& flag, Choice& value,
                const std::vector<Choice>& choices, const std::string& help) {
  std::map<std::string, Choice> names;
  for (const Choice choice : choices) names[name_of(choice)] = choice;
  app.add_option(flag, value, help)
      ->transform(CLI::CheckedTransformer(names).description(""))
      ->type_name("NAME");
}

void add_prompt_options(CLI::App& app, PrefillOptions& prefill) {
  app.add_option("-c,--context", prefill.context, "tokens of the prompt [4096]")->type_name("N");
  app.add_option("-b,--chunk", prefill.chunk, "tokens that are read at once [512]")->type_name("N");
  app.add_option("--keep", prefill.keep, "share of tokens kept, on the mean of all layers [0.2]")
      ->type_name("X");
  app.add_option("--dense-layers", prefill.dense_layers,
                 "layers that keep everything, as part of that mean [2]")
      ->type_name("N");
}

void add_machine_options(CLI::App& app, SimulateOptions& options) {
  PrefillOptions& prefill = options.prefill;
  add_choice(app, "--pilot", prefill.pilot, {Pilot::kOperator, Pilot::kGraph},
             "what computes the estimate on the NPU: operator (the published code's) or graph (the "
             "paper's compiled graphs) [operator]");
  add_choice(app, "--launches", prefill.launches, {Launches::kEngine, Launches::kPublished},
             "how calls are cut: engine (as ours does) or published (all heads and rows at once) "
             "[engine]");
  app.add_option("--fuse-heads", prefill.fuse_heads, "heads per launch at most [as many as fit]")
      ->type_name("N");
  add_choice(app, "--core", prefill.core, {CoreKind::kMiddle, CoreKind::kPrime, CoreKind::kSmall},
             "kind of CPU cores: middle, prime, small [middle]");
  app.add_option("--cores", options.cores,
                 "CPU cores [3 for sparse attention, 4 for dense, as published]")
      ->check(CLI::Range(1, 256).description(""))
      ->type_name("N");
  app.add_option("--dense-cores", options.dense_cores,
                 "CPU cores for dense attention [4, or as --cores]")
      ->check(CLI::Range(1, 256).description(""))
      ->type_name("N");
  app.add_option("--npu-speed", prefill.npu_speed, "times as fast an NPU; launches as before [1]")
      ->type_name("X");
  app.add_option("--launch-ms", prefill.launch_ms, "what a launch takes [as in the SoC file]")
      ->check(CLI::Range(0.0, 1e6).description(""))
      ->type_name("MS");
}

}  // namespace

Action add_simulate(CLI::App& app) {
  const auto options = std::make_shared<SimulateOptions>();
  app.add_option("--soc", options->soc, "SoC file, such as soc/snapdragon-8gen3.json")
      ->required()
      ->type_name("FILE");
  app.add_option("-m,--model-shape", options->shape,
                 "model: a name, HEADS/KV_HEADS/DIM/LAYERS/HIDDEN/FFN[/VOCAB], or a GGUF file "
                 "[qwen2.5-1.5b]")
      ->type_name("SHAPE");
  add_prompt_options(app, options->prefill);
  add_machine_options(app, *options);
  app.add_flag("--plan", options->plan,
               "larger models, prompts of 4K to 128K, faster NPUs, and what one change would pay");
  app.add_option("--svg", options->svg, "draw one call: pipeline planned, fifo and off")
      ->type_name("FILE");
  app.add_option("-o,--output", options->output, "write everything as JSON")->type_name("FILE");
  app.add_flag("--json", options->json, "print JSON instead of tables");
  app.add_flag("-v,--verbose", options->verbose,
               "the SoC's figures and the published times of all models too");
  return [options] { return run_simulate(*options); };
}

}  // namespace shadowattn::tool
