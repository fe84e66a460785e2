// shadowattn run: a document, a question, an answer.

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>

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

namespace shadowattn::tool {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kContextStep = 256;  // llama.cpp rounds contexts up to this
constexpr int kMostTokens = 1 << 30;

struct RunOptions {
  std::string model;  // empty: the default
  std::string document;
  std::string question;
  std::string report_path;
  int64_t context = 0;  // 0: what the prompt needs
  int answer_tokens = 256;
  int threads = default_threads();
  int ubatch = 512;
  double temperature = 0;
  uint32_t seed = 1;
  bool json = false;
  AttentionOptions attention;
};

struct Prompt {
  std::vector<llama_token> tokens;
  int64_t document_tokens = 0;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void note(const std::string& text) { std::fprintf(stderr, "%s\n", text.c_str()); }

// A question that starts with white space continues the text; any other is a paragraph of its own.
std::string join_question(const std::string& question) {
  const bool continues = question.empty() || question[0] == ' ' || question[0] == '\n';
  const std::string text = repair_utf8(question).text;
  return continues ? text : "\n\n" + text;
}

Prompt make_prompt(const LlamaModel& model, const std::string& document,
                   const std::string& question) {
  const PromptTemplate chat = model.prompt_template();
  const size_t text_end = document.find_last_not_of(" \t\r\n") + 1;
  const std::string text = document.substr(0, text_end);
  Prompt prompt;
  prompt.document_tokens = static_cast<int64_t>(model.tokenize(text).size());
  prompt.tokens = model.start_tokens();
  for (const auto& part :
       {model.tokenize_control(chat.before), model.tokenize(text + join_question(question)),
        model.tokenize_control(chat.after)}) {
    prompt.tokens.insert(prompt.tokens.end(), part.begin(), part.end());
  }
  return prompt;
}

[[noreturn]] void fail_too_long(const RunOptions& options, const Prompt& prompt, int64_t limit) {
  const auto total = static_cast<int64_t>(prompt.tokens.size());
  const int64_t fits = std::max<int64_t>(0, limit - 1 - (total - prompt.document_tokens));
  const std::string limit_text = options.context > 0
                                     ? "a context of " + format_count(limit) + " tokens (-c)"
                                     : "the model's context of " + format_count(limit) + " tokens";
  const std::string advice = options.context > 0
                                 ? "give a larger -c, or shorten the document"
                                 : "shorten the document, or use a model with a longer context";
  throw Failure("the document has " + format_count(prompt.document_tokens) +
                " tokens, and beside the question only " + format_count(fits) + " fit into " +
                limit_text + "; " + advice);
}

// Tokens of context to make, and how many of them the answer may have.
struct Room {
  int64_t context = 0;
  int64_t answer = 0;
};

Room plan_room(const RunOptions& options, const LlamaModel& model, const Prompt& prompt) {
  const auto needed = static_cast<int64_t>(prompt.tokens.size());
  const int64_t limit = options.context > 0 ? options.context : model.train_context();
  if (needed + 1 > limit) fail_too_long(options, prompt, limit);
  if (options.context > model.train_context()) {
    note("shadowattn: warning: the model was trained for " + format_count(model.train_context()) +
         " tokens; with more its answers may be poor");
  }
  Room room;
  room.answer = std::min<int64_t>(options.answer_tokens, limit - needed);
  if (room.answer < options.answer_tokens) {
    note("shadowattn: the context leaves room for " + format_count(room.answer) +
         " tokens of answer");
  }
  const int64_t rounded = (needed + room.answer + kContextStep - 1) / kContextStep * kContextStep;
  room.context = options.context > 0 ? options.context : std::min(rounded, limit);
  return room;
}

// Shows the answer as it comes; with --json it is only collected.
class Answer {
 public:
  explicit Answer(bool streaming) : streaming_(streaming) {}

  void add(const std::string& bytes) { show(stream_.push(bytes)); }
  void finish() {
    show(stream_.finish());
    if (streaming_) std::fputs("\n", stdout);
    std::fflush(stdout);
  }
  const std::string& text() const { return text_; }

 private:
  void show(const std::string& text) {
    text_ += text;
    if (!streaming_) return;
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }

  bool streaming_;
  Utf8Stream stream_;
  std::string text_;
};

bool prefill(LlamaContext& context, const Prompt& prompt, RunFigures& figures) {
  Progress progress("reading", figures.prompt_tokens, "tokens");
  const Clock::time_point start = Clock::now();
  const bool done = context.append(prompt.tokens, [&](int64_t count) {
    figures.processed_tokens = count;
    figures.prefill_seconds = seconds_since(start);
    progress.update(count);
  });
  return done;
}

// Returns false when Ctrl-C ended it.
bool generate(const RunOptions& options, const LlamaModel& model, LlamaContext& context,
              const Prompt& prompt, int64_t limit, Answer& answer, RunFigures& figures) {
  const Sampler sampler(options.temperature, options.seed);
  const Clock::time_point start = Clock::now();
  if (!prefill(context, prompt, figures)) return false;
  llama_token token = sampler.sample(context);
  figures.first_token_seconds = seconds_since(start);
  const Clock::time_point first = Clock::now();
  while (!model.ends_answer(token)) {
    answer.add(model.piece(token));
    ++figures.answer_tokens;
    figures.decode_seconds = seconds_since(first);
    if (figures.answer_tokens == limit) break;
    if (!context.append({&token, 1})) return false;
    token = sampler.sample(context);
  }
  return true;
}

void finish(const RunOptions& options, const RunFigures& figures, const nlohmann::json& report,
            const Answer& answer) {
  if (!figures.interrupted && figures.answer_tokens == 0) note("(the model gave no answer)");
  note("\n" + run_summary(figures, report) + (figures.interrupted ? "interrupted\n" : ""));
  nlohmann::json full = run_report(figures, report);
  if (options.json) {
    full["run"]["answer"] = answer.text();
    full["run"]["interrupted"] = figures.interrupted;
    std::printf("%s\n", json_text(full).c_str());
  }
  if (!options.report_path.empty() && !figures.interrupted) {
    write_file_atomically(options.report_path, json_text(full) + "\n");
  }
}

int run(const RunOptions& options) {
  check_device(options.attention.config());
  if (!options.report_path.empty()) check_writable(options.report_path);
  const std::string path = model_or_default(options.model);
  check_model_file(path);
  const Document document = load_document(options.document);
  const InterruptGuard guard;
  LlamaRuntime runtime;
  const Config config = options.attention.config_for(path);
  std::optional<PluginControl> plugin;
  if (config.enabled || PluginControl::loaded_by_host()) {
    plugin.emplace(runtime).configure(config);
  }

  RunFigures figures;
  figures.model = path;
  figures.mode = mode_name(config);
  figures.threads = options.threads;
  const Clock::time_point start = Clock::now();
  const std::unique_ptr<LlamaModel> model = load_model(runtime, path);
  figures.load_seconds = seconds_since(start);
  const Prompt prompt = make_prompt(*model, document.text, options.question);
  const Room room = plan_room(options, *model, prompt);
  figures.prompt_tokens = static_cast<int64_t>(prompt.tokens.size());
  figures.context_tokens = room.context;

  LlamaContext context(runtime, *model, {room.context, options.ubatch, options.threads});
  if (plugin) plugin->reset_report();
  Answer answer(!options.json);
  figures.interrupted = !generate(options, *model, context, prompt, room.answer, answer, figures);
  if (figures.answer_tokens > 0) answer.finish();
  finish(options, figures, plugin ? plugin->report() : nlohmann::json(), answer);
  return figures.interrupted ? interrupted_status() : kExitOk;
}

void add_sampling_options(CLI::App& app, RunOptions& options) {
  app.add_option("-n,--tokens", options.answer_tokens, "length of the answer at most [256]")
      ->check(CLI::Range(1, kMostTokens).description(""))
      ->type_name("N");
  app.add_option("--temp", options.temperature, "temperature; 0: the most likely token [0]")
      ->check(CLI::Range(0.0, 100.0).description(""))
      ->type_name("T");
  app.add_option("--seed", options.seed, "of the random choices, with --temp [1]")->type_name("N");
}

}  // namespace

Action add_run(CLI::App& app) {
  const auto options = std::make_shared<RunOptions>();
  add_model_option(app, options->model);
  app.add_option("-f,--file", options->document, "document, a text file; - is standard input")
      ->required()
      ->type_name("FILE");
  app.add_option("-p,--prompt", options->question, "question about the document")
      ->required()
      ->type_name("TEXT");
  add_sampling_options(app, *options);
  app.add_option("-c,--context", options->context, "tokens of context [what the prompt needs]")
      ->check(CLI::Range(1, kMostTokens).description(""))
      ->type_name("N");
  add_threads_option(app, options->threads);
  app.add_option("-b,--ubatch", options->ubatch, "tokens processed at once [512]")
      ->check(CLI::Range(1, 65536).description(""))
      ->type_name("N");
  app.add_option("--report", options->report_path, "write a report in JSON to this file")
      ->type_name("FILE");
  app.add_flag("--json", options->json, "print answer and report as JSON instead of the text");
  options->attention.add_mode_to(app);
  options->attention.add_to(app);
  options->attention.add_config_to(app, {"report"});
  return [options] { return run(*options); };
}

}  // namespace shadowattn::tool
