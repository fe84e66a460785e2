// shadowattn eval: what sparse attention costs, measured against dense attention in the same run.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>

#include "common/attention_options.h"
#include "common/failure.h"
#include "common/files.h"
#include "common/input.h"
#include "common/interrupt.h"
#include "common/text.h"
#include "eval/filler.h"
#include "eval/report.h"
#include "eval/settings.h"
#include "subcommands.h"

namespace shadowattn::tool {
namespace {

using namespace eval;

constexpr int kMostTrials = 100'000;
constexpr int kQuestions = 200;
constexpr int kWindows = 2;
constexpr int64_t kMostTokens = int64_t{1} << 24;

constexpr std::pair<const char*, TextTask> kTextTasks[] = {{"needle", TextTask::kNeedle},
                                                           {"recite", TextTask::kRecite},
                                                           {"track", TextTask::kTrack},
                                                           {"count", TextTask::kCount},
                                                           {"calls", TextTask::kCalls}};
constexpr double kShares[] = {0.05, 0.1, 0.2, 0.5};  // of recall

struct EvalOptions {
  std::string task;
  std::string model;     // empty: the default
  std::string document;  // empty: the one that comes with shadowattn
  int64_t context = 4096;
  int trials = 0;  // 0: what the task needs
  uint64_t seed = 1;
  int threads = default_threads();
  int ubatch = 512;
  std::vector<double> output_errors;
  std::vector<double> attn_errors;
  std::vector<double> keeps;
  std::vector<std::string> granularities;
  std::vector<std::string> baselines;
  std::string chat = "auto";
  int facts = 0;  // 0: one and several
  int passage = TaskOptions{}.passage;
  std::string json_path;
  std::string html_path;
  // Which calls are dense because that is faster depends on the machine; what they cost does not.
  AttentionOptions attention{"gate=off,"};
};

std::string names_of_tasks() { return "recall, kld, needle, recite, track, count or calls"; }

const TextTask* text_task(const std::string& name) {
  for (const auto& [known, task] : kTextTasks) {
    if (name == known) return &task;
  }
  return nullptr;
}

bool is_task(const std::string& name) {
  return name == "recall" || name == "kld" || text_task(name) != nullptr;
}

void check_lists(const EvalOptions& options) {
  if (text_task(options.task) != nullptr &&
      (options.output_errors.size() > 1 || options.attn_errors.size() > 1 ||
       options.keeps.size() > 1)) {
    throw Failure(
        options.task +
            " takes one --output-error, --attn-error and --keep; only kld and recall take "
            "lists",
        kExitUsage);
  }
  if (options.task == "recall" && !options.output_errors.empty()) {
    throw Failure("recall is of lists by mass or share: it takes no --output-error", kExitUsage);
  }
  if (options.granularities.empty()) return;
  if (options.task != "recall") {
    throw Failure(options.task + " takes no --granularity; only recall does", kExitUsage);
  }
  if (options.attention.given("rows") || options.attention.given("share_heads")) {
    throw Failure("--granularity says what --rows and --share-heads would: give one or the other",
                  kExitUsage);
  }
}

// Whether --attn-error and --keep are one setting, not several side by side.
bool is_one_setting(const EvalOptions& options) {
  if (options.task == "recall") return false;
  if (text_task(options.task) != nullptr) return true;
  if (!options.output_errors.empty()) {
    return options.output_errors.size() == 1 && options.attn_errors.empty() &&
           options.keeps.empty();
  }
  return options.keeps.empty() ? options.attn_errors.size() <= 1
                               : options.keeps.size() == 1 && options.attn_errors.size() == 1;
}

// Side by side; the first is the headline. Neither option is recall's case alone.
std::vector<Setting> settings_of(const EvalOptions& options, const Config& config) {
  const bool neither =
      options.output_errors.empty() && options.attn_errors.empty() && options.keeps.empty();
  if (neither) return separate_settings({}, std::span(&config.engine.attn_error, 1), kShares);
  return separate_settings(options.output_errors, options.attn_errors, options.keeps);
}

// The headline first.
std::vector<Config> configs_of(const EvalOptions& options, const std::string& model) {
  Config config = options.attention.config_for(model);
  if (is_one_setting(options)) {
    if (!options.attn_errors.empty() || !options.keeps.empty()) config.engine.output_error = 0;
    if (!options.attn_errors.empty()) config.engine.attn_error = options.attn_errors.front();
    if (!options.keeps.empty()) config.engine.keep = options.keeps.front();
    if (!options.output_errors.empty()) config.engine.output_error = options.output_errors.front();
    return {config};
  }
  const bool short_lists = !options.attention.given("floor");
  std::vector<Config> configs;
  for (const Setting& setting : settings_of(options, config)) {
    configs.push_back(config);
    configs.back().engine = options_at(config.engine, setting, short_lists);
  }
  return configs;
}

// kld is beside its floor always, and shadow beside its other settings.
std::vector<Method> methods_of(const EvalOptions& options, const std::vector<Config>& configs) {
  std::vector<std::string> named = options.baselines;
  if (options.task != "kld") return make_methods(named, configs.front());
  named.emplace_back(kFloor);
  std::vector<Method> methods = make_methods(named, configs.front());
  auto place = std::find_if(methods.begin(), methods.end(),
                            [](const Method& method) { return method.name == kHeadline; });
  for (size_t i = 1; i < configs.size(); ++i) {
    place = methods.insert(std::next(place), shadow_at(configs[i]));
  }
  return methods;
}

int trials_of(const EvalOptions& options) {
  if (options.trials > 0) return options.trials;
  return text_task(options.task) != nullptr ? kQuestions : kWindows;
}

TaskOptions task_options(const EvalOptions& options, bool chat) {
  return {options.context, trials_of(options), options.seed, chat, options.facts, options.passage};
}

PromptTemplate prompt_template(const EvalOptions& options, const LlamaModel& model) {
  if (options.chat == "off") return {};
  PromptTemplate chat = model.prompt_template();
  if (options.chat == "on" && !chat.chat) {
    throw Failure("the model has no chat template that llama.cpp knows; use --chat off");
  }
  return chat;
}

void check_context(const EvalOptions& options) {
  const bool asks = text_task(options.task) != nullptr;
  const int64_t least = asks ? kShortestContext : kShortestWindow;
  if (options.context >= least) return;
  throw Failure(
      options.task + " needs a context of at least " + format_count(least) + " tokens (-c)",
      kExitUsage);
}

Report run_task(const EvalOptions& options, const Workplace& workplace, const EvalFacts& facts,
                std::vector<Method> methods, const std::string& document) {
  const LlamaModel& model = workplace.model;
  if (const TextTask* task = text_task(options.task)) {
    const PromptTemplate chat = prompt_template(options, model);
    const TokenCounter counter = model.token_counter();
    const Filler filler(uses_filler(*task) ? document : "", counter);
    const std::vector<Prompt> prompts =
        make_prompts(*task, task_options(options, chat.chat), filler, counter);
    if (prompts.empty()) throw Failure("the text has no passage that can be asked for");
    return answers_report(facts, chat.chat, prompts, ask(workplace, methods, prompts, chat));
  }
  const std::vector<llama_token> text = model.tokenize(document);
  if (options.task == "kld") {
    return kld_report(facts,
                      run_kld(workplace, methods, text, {options.context, trials_of(options)}));
  }
  std::erase_if(methods, [](const Method& method) { return !method.config.enabled; });
  RecallOptions recall;
  recall.context = options.context;
  recall.windows = trials_of(options);
  recall.settings = settings_of(options, methods.front().config);
  for (const std::string& item : options.granularities) {
    recall.granularities.push_back(parse_granularity(item));
  }
  recall.floor_given = options.attention.given("floor");
  return recall_report(facts, run_recall(workplace, methods, text, recall));
}

EvalFacts make_facts(const EvalOptions& options, const LlamaModel& model, const Config& config) {
  EvalFacts facts;
  facts.task = options.task;
  facts.model = std::filesystem::path(model.path()).filename().string();
  facts.description = model.description();
  const TextTask* task = text_task(options.task);
  if (task == nullptr || uses_filler(*task)) {
    facts.text = std::filesystem::path(document_or_default(options.document)).filename().string();
  }
  facts.context = options.context;
  facts.trials = trials_of(options);
  facts.seed = options.seed;
  facts.facts = options.facts;
  facts.passage = options.passage;
  facts.threads = options.threads;
  facts.output_error = options.task == "recall" ? 0 : config.engine.output_error;
  facts.attn_error = config.engine.attn_error;
  facts.keep = config.engine.keep;
  return facts;
}

void write_report(const EvalOptions& options, const Report& report) {
  if (!options.json_path.empty()) {
    // Names may hold bytes that are not UTF-8; these are replaced.
    const auto replace = nlohmann::ordered_json::error_handler_t::replace;
    write_file_atomically(options.json_path, report.json.dump(2, ' ', false, replace) + "\n");
  }
  if (!options.html_path.empty()) {
    write_file_atomically(options.html_path, to_html(report.page));
  }
  std::fputs(to_text(report.page).c_str(), stdout);
}

int run_eval(const EvalOptions& options) {
  check_context(options);
  check_lists(options);
  check_device(options.attention.config());
  for (const std::string& path : {options.json_path, options.html_path}) {
    if (!path.empty()) check_writable(path);
  }
  const std::string path = model_or_default(options.model);
  check_model_file(path);
  const std::string document = load_document(document_or_default(options.document)).text;
  const InterruptGuard guard;
  LlamaRuntime runtime;
  const std::vector<Config> configs = configs_of(options, path);  // reads the profile by ggml
  const PluginControl plugin(runtime);
  const std::unique_ptr<LlamaModel> model = load_model(runtime, path);
  const Workplace workplace{runtime, plugin, *model, options.threads, options.ubatch};
  const EvalFacts facts = make_facts(options, *model, configs.front());
  write_report(options,
               run_task(options, workplace, facts, methods_of(options, configs), document));
  return kExitOk;
}

// One or several values of a key of the plug-in's configuration.
void add_list_option(CLI::App& app, const std::string& flag, const std::string& key,
                     std::vector<double>& values, const std::string& help) {
  app.add_option(flag, values, help)
      ->delimiter(',')
      ->check([key](const std::string& value) { return config_problem(key, value); })
      ->type_name("LIST")
      ->group("Attention");
}

// The plug-in's default, as `run` has it.
std::string default_of(const std::string& key) {
  for (const ConfigValue& known : config_values(Config())) {
    if (known.key == key) return " [" + known.value + "]";
  }
  return "";
}

void add_setting_options(CLI::App& app, EvalOptions& options) {
  add_list_option(app, "--output-error", "output_error", options.output_errors,
                  "relative error that a layer's output may have; kld: several side by side" +
                      default_of("output_error"));
  add_list_option(app, "--attn-error", "attn_error", options.attn_errors,
                  "share of softmax mass a query may lose; kld, recall: several side by side" +
                      default_of("attn_error"));
  add_list_option(app, "--keep", "keep", options.keeps,
                  "share of the visible tokens to attend to at most; kld, recall: several side by "
                  "side, with attn_error 0" +
                      default_of("keep"));
  app.add_option("--granularity", options.granularities,
                 "recall: who shares a list, ROWSx1 (a query head its own) or ROWSxgroup, several "
                 "side by side [--rows, --share-heads]")
      ->delimiter(',')
      ->check([](const std::string& item) { return granularity_problem(item); })
      ->type_name("LIST")
      ->group("Attention");
}

void add_text_options(CLI::App& app, EvalOptions& options) {
  app.add_option("-f,--file", options.document,
                 "text, a long one; - is standard input [one that comes with shadowattn]")
      ->type_name("FILE");
  app.add_option("-c,--context", options.context, "tokens of the longest context [4096]")
      ->check(CLI::Range(int64_t{1}, kMostTokens).description(""))
      ->type_name("N");
  app.add_option("--trials", options.trials,
                 "questions [200]; kld, recall: windows of the text [2]")
      ->check(CLI::Range(1, kMostTrials).description(""))
      ->type_name("N");
  app.add_option("--facts", options.facts,
                 "needle: every question is about one of N facts in a text of the whole context "
                 "[alone or one of 10, several lengths]")
      ->check(CLI::Range(1, kMostFacts).description(""))
      ->type_name("N");
  app.add_option("--passage", options.passage, "recite: tokens to be repeated, at least [12]")
      ->check(CLI::Range(1, kLongestPassage).description(""))
      ->type_name("N");
  app.add_option("--seed", options.seed, "of questions [1]")->type_name("N");
  app.add_option("--chat", options.chat,
                 "ask through the model's chat template: auto (if it has one), on, off [auto]")
      ->check([](const std::string& value) {
        const bool known = value == "auto" || value == "on" || value == "off";
        return std::string(known ? "" : "auto, on or off is expected");
      })
      ->type_name("");
}

}  // namespace

Action add_eval(CLI::App& app) {
  const auto options = std::make_shared<EvalOptions>();
  app.add_option("task", options->task,
                 "recall: mass and recall of lists; kld: probabilities; needle, recite, track, "
                 "count, calls: answers")
      ->required()
      ->check([](const std::string& name) {
        return is_task(name) ? "" : names_of_tasks() + " is expected, found " + one_line(name);
      })
      ->type_name("TASK");
  add_model_option(app, options->model);
  add_text_options(app, *options);
  app.add_option(
         "--baseline", options->baselines,
         "methods to compare beside dense and shadow (kld: and llama.cpp): dense-fast, oracle, "
         "sparse-f32, block, window, npu-int8, llama.cpp")
      ->delimiter(',')
      ->check([](const std::string& name) { return method_problem(name); })
      ->type_name("LIST");
  add_threads_option(app, options->threads);
  app.add_option("-b,--ubatch", options->ubatch, "tokens processed at once [512]")
      ->check(CLI::Range(1, 65536).description(""))
      ->type_name("N");
  app.add_option("-o,--output", options->json_path, "write the result in JSON to this file")
      ->type_name("FILE");
  app.add_option("--html", options->html_path, "write the result as a web page to this file")
      ->type_name("FILE");
  add_setting_options(app, *options);
  options->attention.add_shared_to(app);
  options->attention.add_config_to(app, {"mode", "output_error", "attn_error", "keep", "min_rows",
                                         "threads", "report", "trace"});
  return [options] { return run_eval(*options); };
}

}  // namespace shadowattn::tool
