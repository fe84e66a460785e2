// shadowattn demo: facts hidden in a long text, found by llama.cpp's own attention and by ours.

#include <cstdio>
#include <filesystem>
#include <memory>

#include "attention_options.h"
#include "command.h"
#include "demo_reading.h"
#include "demo_report.h"
#include "failure.h"
#include "files.h"
#include "input.h"
#include "interrupt.h"

namespace shadowattn::tool {
namespace {

constexpr int64_t kReferenceTokens = 8192;
constexpr int64_t kOtherTokens = 4096;  // models people use are a hundred times slower
constexpr int64_t kFewestTokens = 512;
// No answer to this text is a near tie, where rounding alone, another number of threads for
// example, would change what the reference model says.
constexpr uint64_t kSeed = 5;

struct DemoOptions {
  std::string model;  // empty: the default
  int64_t tokens = 0;
  int facts = 10;
  int threads = default_threads();
  uint64_t seed = kSeed;
  bool json = false;
  AttentionOptions attention;
};

// The same attention settings three times: not used, with everything kept, sparse.
std::vector<Side> make_sides(Config config) {
  // Questions and answers have few rows; they too shall go through the plug-in.
  config.min_rows = 1;
  Config off = config;
  off.enabled = false;
  Config dense = config;
  dense.engine.mode = Mode::kDense;
  return {Side("llama.cpp", off), Side("dense", dense), Side("shadow", config)};
}

// The plug-in must have computed attention, or what the table compares is llama.cpp with itself.
void check_it_ran(const DemoResult& result) {
  for (const Side& side : result.sides) {
    if (!side.config.enabled || attention_totals(side.report).calls > 0) continue;
    throw Failure("the plug-in computed no attention in this model, so there was nothing to " +
                  std::string("compare; see why with `shadowattn run --report`"));
  }
}

int demo(const DemoOptions& options) {
  const std::string path = model_or_default(options.model);
  const bool reference = is_reference_model(path);
  check_device(options.attention.config());
  check_model_file(path);
  const InterruptGuard guard;
  LlamaRuntime runtime;
  const PluginControl plugin(runtime);
  const LlamaModel model(runtime, path);

  const int64_t tokens = options.tokens > 0 ? options.tokens
                         : reference        ? kReferenceTokens
                                            : kOtherTokens;
  DemoResult result;
  result.model = std::filesystem::path(path).filename().string();
  result.reading = make_reading(model, {options.seed, options.facts, tokens});
  result.threads = options.threads;
  result.sides = make_sides(options.attention.config_for(path));
  read_side_by_side(runtime, plugin, model, result);
  if (interrupted()) throw Failure("interrupted", interrupted_status());
  std::fputs((options.json ? json_text(demo_json(result)) + "\n" : demo_text(result)).c_str(),
             stdout);
  check_it_ran(result);
  return kExitOk;
}

}  // namespace

Action add_demo(CLI::App& app) {
  const auto options = std::make_shared<DemoOptions>();
  add_model_option(app, options->model);
  app.add_option("-c,--context", options->tokens,
                 "length of the text in tokens [bookworm-3m 8192, others 4096]")
      ->check(CLI::Range(kFewestTokens, int64_t{1} << 24).description(""))
      ->type_name("N");
  app.add_option("--facts", options->facts, "facts hidden in the text [10]")
      ->check(CLI::Range(1, kMostFacts).description(""))
      ->type_name("N");
  app.add_option("--seed", options->seed, "of the text and the facts [5]")->type_name("N");
  add_threads_option(app, options->threads);
  app.add_flag("--json", options->json, "print the result as JSON");
  options->attention.add_to(app);
  options->attention.add_config_to(app, {"mode", "min_rows", "report"});
  return [options] { return demo(*options); };
}

}  // namespace shadowattn::tool
