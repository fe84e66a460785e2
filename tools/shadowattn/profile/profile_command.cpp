// shadowattn profile: measures a model once, so that later runs know which lists suit its heads.

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>

#include "common/attention_options.h"
#include "common/failure.h"
#include "common/files.h"
#include "common/input.h"
#include "common/interrupt.h"
#include "common/model_identity.h"
#include "common/profile_choice.h"
#include "common/text.h"
#include "profile/profile_report.h"
#include "profile/profile_run.h"
#include "subcommands.h"

namespace shadowattn::tool {
namespace {

constexpr int kMostTokens = 1 << 30;
constexpr int kFewestTokens = 512;
constexpr int kDefaultTokens = 4096;
constexpr double kDefaultBudget = 0.2;

struct ProfileOptions {
  std::string model;     // empty: the default
  std::string document;  // empty: the one that comes with shadowattn
  std::string output;    // empty: beside the model
  int64_t context = 0;   // 0: kDefaultTokens, or what model and text allow
  std::string method = "mass";
  double budget = 0;  // 0: not given
  double attn_error = EngineOptions().attn_error;
  int loss_tokens = 512;
  int threads = default_threads();
};

std::vector<llama_token> tokens_to_read(const ProfileOptions& options, const LlamaModel& model,
                                        const std::string& document) {
  int64_t wanted = options.context;
  if (wanted == 0) wanted = std::min<int64_t>(kDefaultTokens, model.train_context());
  std::vector<llama_token> tokens = model.start_tokens();
  const std::vector<llama_token> text = model.tokenize(document);
  tokens.insert(tokens.end(), text.begin(), text.end());
  const auto available = static_cast<int64_t>(tokens.size());
  if (options.context == 0) wanted = std::min(wanted, available);
  if (wanted > available) {
    throw Failure("the text has only " + format_count(available) + " tokens, -c asks for " +
                  format_count(wanted) + "; give a longer text or a smaller -c");
  }
  if (wanted < kFewestTokens) {
    throw Failure("only " + format_count(wanted) + " tokens would be read, too few to profile; " +
                  "give a text of at least " + format_count(kFewestTokens) + ", better 4,096");
  }
  tokens.resize(static_cast<size_t>(wanted));
  return tokens;
}

ProfileSettings settings_of(const ProfileOptions& options, const std::string& output) {
  ProfileSettings settings;
  settings.part = partial_path(output);
  settings.attn_error = options.attn_error;
  settings.importance = options.method == "importance";
  settings.budget = options.budget;
  if (settings.importance && settings.budget == 0) settings.budget = kDefaultBudget;
  settings.loss_tokens = options.loss_tokens;
  settings.threads = options.threads;
  return settings;
}

std::string note_of(const ProfileOptions& options, const ProfileSettings& settings, size_t tokens) {
  std::string note =
      "measured on " + format_count(static_cast<int64_t>(tokens)) + " tokens of a text";
  if (settings.budget > 0) {
    note += "; shares by " + options.method + ", " + format_percent(settings.budget) +
            " of the tokens on average";
  }
  return note;
}

int profile(const ProfileOptions& options) {
  const std::string path = model_or_default(options.model);
  const std::string output = options.output.empty() ? profile_beside(path) : options.output;
  check_writable(output);
  check_model_file(path);
  const std::string document = load_document(document_or_default(options.document)).text;
  const auto start = std::chrono::steady_clock::now();
  const InterruptGuard guard;
  LlamaRuntime runtime;
  const PluginControl plugin(runtime);
  const std::unique_ptr<LlamaModel> model = load_model(runtime, path);
  const ProfiledModel identity = identify_model(path);
  const std::vector<llama_token> tokens = tokens_to_read(options, *model, document);
  const ProfileSettings settings = settings_of(options, output);
  Profile made = measure_profile(runtime, plugin, *model, identity, tokens, settings);
  made.note = note_of(options, settings, tokens.size());
  write_file_atomically(output, to_json(made));
  std::error_code ignored;
  std::filesystem::remove(settings.part, ignored);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::fprintf(stderr, "%s%s: %s, in %s\n", profile_summary(made).c_str(), output.c_str(),
               made.note.c_str(), format_seconds(seconds).c_str());
  if (output != profile_beside(path)) {
    std::fprintf(stderr, "use it with --profile %s\n", output.c_str());
  }
  return kExitOk;
}

void add_method_options(CLI::App& app, ProfileOptions& options) {
  app.add_option("--attn-error", options.attn_error,
                 "share of softmax mass that a query may lose; lists are chosen for it [0.01]")
      ->check([](const std::string& value) {
        std::string problem = config_problem("attn_error", value);
        if (problem.empty() && std::stod(value) <= 0) problem = "a number above 0 is expected";
        return problem;
      })
      ->type_name("X");
  app.add_option("--method", options.method,
                 "shares of tokens by the mass they hold, or also by the loss without each head "
                 "(slow): mass, importance [mass]")
      ->check(CLI::IsMember(std::vector<std::string>{"mass", "importance"}).description(""))
      ->type_name("");
  app.add_option("--budget", options.budget,
                 "share of the tokens that heads may keep on average, in (0, 1] [mass: all; "
                 "importance: 0.2]")
      ->check([](const std::string& value) { return config_problem("keep", value); })
      ->type_name("X");
  app.add_option("--loss-tokens", options.loss_tokens,
                 "with --method importance: tokens that the loss is measured on [512]")
      ->check(CLI::Range(32, 1 << 20).description(""))
      ->type_name("N");
}

}  // namespace

Action add_profile(CLI::App& app) {
  const auto options = std::make_shared<ProfileOptions>();
  add_model_option(app, options->model);
  app.add_option("-f,--file", options->document,
                 "text to read, of the kind that the model is for; - is standard input [one that "
                 "comes with shadowattn]")
      ->type_name("FILE");
  app.add_option("-o,--output", options->output, "file to write [MODEL.shadow.json beside it]")
      ->type_name("FILE");
  app.add_option("-c,--context", options->context, "tokens to read [4096, or all of the text]")
      ->check(CLI::Range(1, kMostTokens).description(""))
      ->type_name("N");
  add_method_options(app, *options);
  add_threads_option(app, options->threads);
  return [options] { return profile(*options); };
}

}  // namespace shadowattn::tool
