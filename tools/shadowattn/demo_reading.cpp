#include "demo_reading.h"

#include <algorithm>
#include <chrono>

#include "failure.h"
#include "interrupt.h"
#include "progress.h"
#include "text.h"

namespace shadowattn::tool {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kUbatch = 512;
constexpr int kRuns = 3;
constexpr double kQuickSeconds = 5;  // one run of a side; slower ones are not repeated
constexpr int kPlainAnswerTokens = 4;
constexpr int kChatAnswerTokens = 32;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The reference model was taught this form; other models without a chat template follow it too.
std::string plain_question(const Fact& fact) { return " The code of " + fact.key + " is"; }

std::string chat_question(const Fact& fact) {
  return "\n\nWhat is the code of " + fact.key + "? Answer with that one word.";
}

void append(std::vector<llama_token>& tokens, const std::vector<llama_token>& more) {
  tokens.insert(tokens.end(), more.begin(), more.end());
}

size_t answer_tokens(const Reading& reading) {
  return reading.chat ? kChatAnswerTokens : kPlainAnswerTokens;
}

size_t longest_question(const Reading& reading) {
  size_t longest = 0;
  for (const auto& question : reading.questions) longest = std::max(longest, question.size());
  return longest;
}

int64_t context_tokens(const Reading& reading) {
  return static_cast<int64_t>(reading.prefix.size() + longest_question(reading) +
                              answer_tokens(reading));
}

// Reads a text with several contexts, one after another.
class Reader {
 public:
  Reader(LlamaRuntime& runtime, const PluginControl& plugin, const LlamaModel& model,
         DemoResult& result)
      : runtime_(runtime),
        plugin_(plugin),
        model_(model),
        reading_(result.reading),
        threads_(result.threads),
        progress_("", 1, "tokens") {}

  void plan(int64_t prompts) {
    progress_.set_total(done_ + prompts * static_cast<int64_t>(reading_.prefix.size()));
  }

  void warm_up(const Side& side) {
    LlamaContext context = make_context(side);
    const size_t count = std::min<size_t>(kUbatch, reading_.prefix.size());
    context.append(std::span(reading_.prefix).first(count));
  }

  // One timed reading, up to the first token of the first answer.
  void read(Side& side, int run, bool ask) {
    LlamaContext context = make_context(side);
    plugin_.reset_report();
    progress_.set_label(side.name + ", run " + std::to_string(run));
    std::vector<llama_token> prompt = reading_.prefix;
    append(prompt, reading_.questions[0]);
    const Clock::time_point start = Clock::now();
    if (!context.append(prompt, [&](int64_t count) { progress_.update(done_ + count); })) return;
    sampler_.sample(context);
    side.first_token_seconds.push_back(seconds_since(start));
    done_ += static_cast<int64_t>(reading_.prefix.size());
    if (ask) answer_all(side, context);
  }

 private:
  LlamaContext make_context(const Side& side) {
    plugin_.configure(side.config);
    return {runtime_, model_, {context_tokens(reading_), kUbatch, threads_}};
  }

  // The first question has been read already.
  void answer_all(Side& side, LlamaContext& context) {
    for (size_t i = 0; i < reading_.questions.size(); ++i) {
      if (i > 0) {
        context.truncate(static_cast<int64_t>(reading_.prefix.size()));
        if (!context.append(reading_.questions[i])) return;
      }
      side.answers.push_back(answer(context));
    }
    side.report = plugin_.report();
  }

  std::string answer(LlamaContext& context) {
    std::string text;
    for (size_t count = 0; count < answer_tokens(reading_); ++count) {
      llama_token token = sampler_.sample(context);
      if (model_.ends_answer(token)) break;
      text += model_.piece(token);
      if (!reading_.chat && text.find_first_of(".,;\n") != std::string::npos) break;
      if (!context.append({&token, 1})) break;
    }
    // In plain text the model goes on with the story: the first word is its answer.
    if (!reading_.chat) text = text.substr(0, text.find_first_of(" .,;\n", 1));
    return one_line(repair_utf8(text).text);
  }

  LlamaRuntime& runtime_;
  const PluginControl& plugin_;
  const LlamaModel& model_;
  const Reading& reading_;
  int threads_;
  Sampler sampler_{0, 0};
  Progress progress_;
  int64_t done_ = 0;
};

}  // namespace

Reading make_reading(const LlamaModel& model, const DemoTextOptions& options) {
  const PromptTemplate chat = model.prompt_template();
  Reading reading;
  reading.chat = chat.chat;
  reading.text = make_demo_text(options, model.token_counter());
  reading.prefix = model.start_tokens();
  append(reading.prefix, model.tokenize_control(chat.before));
  append(reading.prefix, model.tokenize(reading.text.text));
  for (const Fact& fact : reading.text.facts) {
    std::vector<llama_token> question =
        model.tokenize(chat.chat ? chat_question(fact) : plain_question(fact));
    append(question, model.tokenize_control(chat.after));
    reading.questions.push_back(std::move(question));
  }
  if (context_tokens(reading) > model.train_context()) {
    throw Failure("text and question need " + format_count(context_tokens(reading)) +
                  " tokens, but the model's context has " + format_count(model.train_context()) +
                  "; give a smaller --context");
  }
  return reading;
}

void read_side_by_side(LlamaRuntime& runtime, const PluginControl& plugin, const LlamaModel& model,
                       DemoResult& result) {
  Reader reader(runtime, plugin, model, result);
  std::vector<Side>& sides = result.sides;
  reader.plan(static_cast<int64_t>(sides.size()));
  for (const Side& side : sides) reader.warm_up(side);
  for (Side& side : sides) {
    if (!interrupted()) reader.read(side, 1, true);
  }
  result.runs = 1;
  const auto quick = [](const Side& side) {
    return !side.first_token_seconds.empty() && side.first_token_seconds[0] < kQuickSeconds;
  };
  if (!std::all_of(sides.begin(), sides.end(), quick)) return;
  result.runs = kRuns;
  reader.plan(static_cast<int64_t>(sides.size()) * (kRuns - 1));
  for (int run = 2; run <= kRuns; ++run) {
    for (size_t i = 0; i < sides.size() && !interrupted(); ++i) {
      reader.read(run % 2 == 0 ? sides[sides.size() - 1 - i] : sides[i], run, false);
    }
  }
}

}  // namespace shadowattn::tool
