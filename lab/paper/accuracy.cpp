#include "paper/experiments.h"

#include <algorithm>
#include <cmath>

#include "common/failure.h"
#include "eval/ask.h"
#include "eval/kld_run.h"
#include "paper/accuracy_chapter.h"
#include "paper/published.h"

namespace shadowattn::tool::paper {
namespace {

using namespace accuracy;

constexpr size_t kMostDocuments = 2;    // fewer questions of a document would not reach all depths
constexpr int64_t kLongQuestion = 128;  // tokens beyond the context that a long answer may need
constexpr int kTop = 5;                 // of ranks, as in the paper

// A list of its own for every row and head, of exactly the paper's share.
Config paper_config(const Workbench& workbench) {
  Config config = workbench.quality_config();
  config.engine.attn_error = 0;
  config.engine.output_error = 0;
  config.engine.keep = published::kKeep;
  config.engine.keep_floor = 1;
  config.engine.sink = 0;
  config.engine.recent = 0;
  config.engine.rows_per_list = 1;
  config.engine.share_heads = false;
  return config;
}

// A way to attend by its name in kColumns.
eval::Method method_named(const Workbench& workbench, std::string_view name) {
  const Config defaults = workbench.quality_config();
  Config config = name == kDefaultShadow ? defaults : paper_config(workbench);
  if (name == "block") {
    // Mean keys alone often miss a row's neighbourhood: a baseline should be as good as it can be.
    config.engine.sink = defaults.engine.sink;
    config.engine.recent = defaults.engine.recent;
  }
  const bool shadow = name == kDefaultShadow || name == kPaperShadow;
  const std::string known = shadow ? eval::kHeadline : std::string(name);
  std::vector<eval::Method> methods = eval::make_methods({known}, config);
  const auto found = std::find_if(methods.begin(), methods.end(),
                                  [&](const eval::Method& method) { return method.name == known; });
  found->name = name;
  return std::move(*found);
}

std::vector<eval::Method> all_methods(const Workbench& workbench) {
  std::vector<eval::Method> methods;
  for (const Column& column : kColumns) methods.push_back(method_named(workbench, column.name));
  return methods;
}

// Of prompts, so that long answers still fit; less than kShortestContext: the model is too small.
int64_t prompt_context(const Workbench& workbench) {
  return std::min(workbench.effort.prompt, workbench.place.model.train_context() - kLongQuestion);
}

// Of windows that are only read; 0: no text is long enough.
int64_t reading_context(const Workbench& workbench) {
  int64_t longest = 0;
  for (const int64_t length : workbench.lengths()) {
    if (length <= workbench.effort.prompt) longest = length;
  }
  return longest;
}

eval::TextTask text_task(std::string_view id) {
  if (id == "needle") return eval::TextTask::kNeedle;
  if (id == "recite") return eval::TextTask::kRecite;
  return id == "track" ? eval::TextTask::kTrack : eval::TextTask::kCalls;
}

// Long enough to fill a prompt; none: prose is made up.
std::vector<std::string> documents(const Workbench& workbench, eval::TextTask task) {
  std::vector<std::string> found;
  for (const Text& text : workbench.texts) {
    const bool fits = static_cast<int64_t>(text.tokens.size()) > 2 * prompt_context(workbench);
    if (fits && found.size() < (workbench.quick ? 1 : kMostDocuments)) {
      found.push_back(text.content);
    }
  }
  if (found.empty() || !eval::uses_filler(task)) found = {""};
  return found;
}

std::vector<eval::Prompt> prompts_of(const Workbench& workbench, std::string_view id, bool chat) {
  const eval::TextTask task = text_task(id);
  const bool half = task == eval::TextTask::kCalls;  // the other half is of the other form
  const std::vector<std::string> all = documents(workbench, task);
  eval::TaskOptions options;
  options.context = prompt_context(workbench);
  options.trials = workbench.effort.trials * (half ? 2 : 1) / static_cast<int>(all.size());
  options.seed = workbench.seed;
  options.chat = chat;
  const TokenCounter counter = workbench.place.model.token_counter();
  std::vector<eval::Prompt> prompts;
  for (const std::string& document : all) {
    const eval::Filler filler(document, counter);
    for (eval::Prompt& prompt : eval::make_prompts(task, options, filler, counter)) {
      if (!half || prompt.questions.front().group == id) prompts.push_back(std::move(prompt));
    }
    ++options.seed;
  }
  if (prompts.empty()) throw Failure("the texts have no passage that can be asked for");
  return prompts;
}

// What counts: right answers, or where there are candidates, the right one among the first five.
std::vector<bool> hits_of(const eval::MethodAnswers& answers) {
  std::vector<bool> hits = answers.right;
  for (size_t i = 0; i < hits.size(); ++i) {
    if (answers.ranks[i] > 0) hits[i] = answers.ranks[i] <= kTop;
  }
  return hits;
}

// Share of hits that guessing would have.
double guessed_share(const std::vector<eval::Prompt>& prompts) {
  double sum = 0;
  double count = 0;
  for (const eval::Prompt& prompt : prompts) {
    for (const eval::Question& question : prompt.questions) {
      const auto candidates = static_cast<double>(question.candidates.size());
      if (candidates > 0) sum += std::min(1.0, kTop / candidates);
      ++count;
    }
  }
  return sum / count;
}

struct Change {
  double mean = 0;
  double error = 0;  // standard
};

// Question by question, so that what makes questions hard cancels out.
Change nll_change(const std::vector<double>& from, const std::vector<double>& to) {
  const auto count = static_cast<double>(from.size());
  double sum = 0;
  double squares = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    sum += to[i] - from[i];
    squares += (to[i] - from[i]) * (to[i] - from[i]);
  }
  Change change;
  change.mean = sum / count;
  const double variance = std::max(0.0, squares / count - change.mean * change.mean);
  if (count > 1) change.error = std::sqrt(variance / (count - 1));
  return change;
}

// Keys: context, chat, questions, guessed (share), methods: name, config, hits, losses, gains,
// right, nll, nll_change, nll_change_error (nats per token), kept, seconds.
Json measure_task(const Workbench& workbench, std::string_view id) {
  const PromptTemplate chat = workbench.place.model.prompt_template();
  const std::vector<eval::Prompt> prompts = prompts_of(workbench, id, chat.chat);
  const std::vector<eval::MethodAnswers> all =
      eval::ask(workbench.place, all_methods(workbench), prompts, chat);
  const std::vector<bool> dense = hits_of(all.front());
  Json values = {{"context", prompt_context(workbench)},
                 {"chat", chat.chat},
                 {"questions", dense.size()},
                 {"guessed", guessed_share(prompts)},
                 {"methods", Json::array()}};
  for (const eval::MethodAnswers& answers : all) {
    const std::vector<bool> hits = hits_of(answers);
    const eval::Flips flips = eval::flips(dense, hits);
    const Change change = nll_change(all.front().nlls, answers.nlls);
    values["methods"].push_back(
        {{"name", answers.method.name},
         {"config", to_string(answers.method.config)},
         {"hits", std::count(hits.begin(), hits.end(), true)},
         {"losses", flips.losses.size()},
         {"gains", flips.gains.size()},
         {"right", std::count(answers.right.begin(), answers.right.end(), true)},
         {"nll", eval::answer_nll(answers)},
         {"nll_change", change.mean},
         {"nll_change_error", change.error},
         {"kept", answers.kept},
         {"seconds", answers.seconds}});
  }
  return values;
}

// All texts' results at one length, method by method; seconds add up.
void add_length(eval::KldLength& sum, eval::KldLength more) {
  sum.windows += more.windows;
  sum.reference_seconds += more.reference_seconds;
  for (size_t i = 0; i < sum.methods.size(); ++i) {
    eval::MethodTokens& method = sum.methods[i];
    // Windows of one length see the same number of pairs each.
    const auto added = static_cast<double>(more.windows) / sum.windows;
    method.kept += (more.methods[i].kept - method.kept) * added;
    method.seconds += more.methods[i].seconds;
    std::vector<eval::TokenComparison>& tokens = more.methods[i].tokens;
    method.tokens.insert(method.tokens.end(), tokens.begin(), tokens.end());
  }
}

Json length_values(const eval::KldLength& length) {
  Json values = {{"context", length.context}, {"windows", length.windows}};
  values["methods"] = Json::array();
  for (const eval::MethodTokens& method : length.methods) {
    const eval::KldStatistics all = eval::kld_statistics(method.tokens);
    values["tokens"] = all.tokens;
    values["ppl"] = all.reference_ppl.value;
    values["methods"].push_back({{"name", method.method.name},
                                 {"config", to_string(method.method.config)},
                                 {"ppl", all.ppl.value},
                                 {"ppl_ratio", all.ppl_ratio.value},
                                 {"ppl_ratio_error", all.ppl_ratio.error},
                                 {"kld", all.kld.value},
                                 {"kld_error", all.kld.error},
                                 {"same_top", all.same_top.value},
                                 {"kept", method.kept},
                                 {"seconds", method.seconds}});
  }
  return values;
}

// Keys: lengths: context, windows, tokens (scored), ppl (dense), methods (all others): name,
// config, ppl, ppl_ratio, kld (nats) and their errors, same_top, kept, seconds.
Json measure_reading(const Workbench& workbench) {
  const int64_t context = reading_context(workbench);
  const auto start = static_cast<int64_t>(workbench.place.model.start_tokens().size());
  std::vector<const Text*> texts;
  for (const Text& text : workbench.texts) {
    if (static_cast<int64_t>(text.tokens.size()) + start >= context) texts.push_back(&text);
  }
  const int windows = workbench.effort.windows;
  const auto count = std::min(texts.size(), static_cast<size_t>(windows));
  std::vector<eval::KldLength> lengths;
  for (size_t i = 0; i < count; ++i) {
    const int share = windows / static_cast<int>(count);
    std::vector<eval::KldLength> found =
        eval::run_kld(workbench.place, all_methods(workbench), texts[i]->tokens, {context, share});
    if (lengths.empty()) {
      lengths = std::move(found);
      continue;
    }
    for (size_t k = 0; k < lengths.size(); ++k) add_length(lengths[k], std::move(found[k]));
  }
  Json values = {{"lengths", Json::array()}};
  for (const eval::KldLength& length : lengths) values["lengths"].push_back(length_values(length));
  return values;
}

std::vector<Part> parts(const Workbench& workbench) {
  constexpr double kTaskSeconds = 60;
  constexpr double kQuickSeconds = 3;
  const double seconds = workbench.quick ? kQuickSeconds : kTaskSeconds;
  std::vector<Part> all;
  if (prompt_context(workbench) >= eval::kShortestContext) {
    for (const Task& task : kTasks) {
      all.push_back({std::string(task.id), std::string(task.id), seconds,
                     [id = task.id](const Workbench& bench) { return measure_task(bench, id); }});
    }
  }
  if (reading_context(workbench) > 0) {
    all.push_back({std::string(kReading), "reading texts", seconds, measure_reading});
  }
  return all;
}

}  // namespace

Experiment accuracy_experiment() {
  return {"accuracy",
          "What tasks and texts lose",
          "Table 6",
          "The same prompts by six ways to attend. Tasks are generated; select is after Octopus, "
          "step after DroidCall, reading takes the place of ArxivSum. Sparse ways keep 20 % of "
          "the tokens, each row and head its own, as the paper does; beside them stands shadow as "
          "it works by default. Block also keeps the first tokens and the last, as by default, so "
          "that it is not worse than it need be.",
          parts,
          write_chapter};
}

}  // namespace shadowattn::tool::paper
