// shadowattn demo: a document read with llama.cpp's own attention and with ours, side by side.

#include <cstdio>
#include <filesystem>
#include <memory>

#include "common/attention_options.h"
#include "common/failure.h"
#include "common/files.h"
#include "common/input.h"
#include "common/interrupt.h"
#include "common/summary.h"
#include "demo/reading.h"
#include "demo/report.h"
#include "subcommands.h"

namespace shadowattn::tool {
namespace {

constexpr int64_t kFewestTokens = 512;
constexpr int kMostAnswerTokens = 4096;

struct DemoOptions {
  std::string model;     // empty: the default one
  std::string document;  // empty: the one that comes with shadowattn
  std::vector<std::string> prompts;
  int64_t tokens = 8192;
  int quotations = 5;
  int answer_tokens = 48;
  int threads = default_threads();
  int ubatch = 512;
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
  return {Side({"llama.cpp", off}), Side({"dense", dense}), Side({"shadow", config})};
}

int demo(const DemoOptions& options) {
  const std::string path = model_or_default(options.model);
  check_device(options.attention.config());
  check_model_file(path);
  const std::string file = document_or_default(options.document);
  const std::string document = load_document(file).text;
  const InterruptGuard guard;
  LlamaRuntime runtime;
  const PluginControl plugin(runtime);
  const std::unique_ptr<LlamaModel> model = load_model(runtime, path);
  const eval::Workplace workplace{runtime, plugin, *model, options.threads, options.ubatch};

  DemoResult result;
  result.model = std::filesystem::path(path).filename().string();
  result.description = model->description();
  result.reading = make_reading(*model, document,
                                {std::filesystem::path(file).filename().string(), options.tokens,
                                 options.prompts, options.quotations, options.answer_tokens});
  result.threads = options.threads;
  result.sides = make_sides(options.attention.config_for(path));
  read_side_by_side(workplace, options.answer_tokens, result);
  std::fputs((options.json ? json_text(demo_json(result)) + "\n" : demo_text(result)).c_str(),
             stdout);
  return kExitOk;
}

}  // namespace

Action add_demo(CLI::App& app) {
  const auto options = std::make_shared<DemoOptions>();
  add_model_option(app, options->model);
  app.add_option("-f,--file", options->document,
                 "document to read; - is standard input [one that comes with shadowattn]")
      ->type_name("FILE");
  app.add_option("-p,--prompt", options->prompts,
                 "question about the document; may be given several times [some that a small model "
                 "can answer, or sentences to be quoted]")
      ->allow_extra_args(false)
      ->type_name("TEXT");
  app.add_option("-c,--context", options->tokens,
                 "tokens of document, question and answer, at most; never more than the model was "
                 "made for [8192]")
      ->check(CLI::Range(kFewestTokens, int64_t{1} << 24).description(""))
      ->type_name("N");
  app.add_option("-n,--tokens", options->answer_tokens, "length of an answer at most [48]")
      ->check(CLI::Range(1, kMostAnswerTokens).description(""))
      ->type_name("N");
  app.add_option("--quotations", options->quotations,
                 "sentences to be quoted, where there are no other questions, 1 ... 100 [5]")
      ->check(CLI::Range(1, 100).description(""))
      ->type_name("N");
  add_threads_option(app, options->threads);
  app.add_option("-b,--ubatch", options->ubatch, "tokens processed at once [512]")
      ->check(CLI::Range(1, 65536).description(""))
      ->type_name("N");
  app.add_flag("--json", options->json, "print the result as JSON");
  options->attention.add_to(app);
  options->attention.add_config_to(app, {"mode", "min_rows", "report"});
  return [options] { return demo(*options); };
}

}  // namespace shadowattn::tool
