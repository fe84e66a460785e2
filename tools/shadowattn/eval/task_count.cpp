// A long list of words of several kinds; of each kind one comes three times as often as any other.
#include <algorithm>

#include "eval/task_parts.h"

namespace shadowattn::tool::eval {
namespace {

constexpr size_t kWords = 6;       // of a kind
constexpr int kOftenAsOthers = 3;  // times
constexpr int kPlainAnswer = 6;
constexpr int kChatAnswer = 48;

struct Kind {
  std::string_view name;
  std::array<std::string_view, kWords> words;
};

constexpr Kind kKinds[] = {
    {"animal", {"horse", "dog", "bird", "sheep", "lion", "fox"}},
    {"colour", {"green", "white", "black", "blue", "brown", "yellow"}},
    {"metal", {"gold", "silver", "iron", "copper", "lead", "tin"}},
    {"fruit", {"apple", "orange", "cherry", "lemon", "plum", "grape"}},
    {"thing", {"table", "window", "lamp", "chair", "door", "clock"}},
};

// A kind that is in no list, solved twice, so that a model that only continues text knows what is
// wanted.
constexpr char kExamples[] =
    "\n\nList: rain, snow, rain, wind, rain. The weather named most often in the list is rain.\n"
    "List: wind, snow, wind, rain, wind. The weather named most often in the list is wind.\n"
    "The long list above: the ";

Question question_about(const Kind& kind, std::string_view most_frequent, bool chat) {
  const std::string name(kind.name);
  Question question;
  question.text =
      chat ? "\n\nWhich " + name + " is named most often in this list? Answer with that one word."
           : kExamples + name + " named most often in the list is";
  question.expected = most_frequent;
  question.match = chat ? Match::kContains : Match::kFirstWord;
  question.answer_tokens = chat ? kChatAnswer : kPlainAnswer;
  question.group = name;
  return question;
}

Prompt make_prompt(int questions, const TaskOptions& options, Dice& dice,
                   const TokenCounter& count_tokens) {
  std::vector<std::string_view> round;  // every word as often as it comes, in proportion
  Prompt prompt;
  prompt.length = options.context;
  for (const Kind& kind : kKinds) {
    const size_t most_frequent = dice.below(kWords);
    for (size_t i = 0; i < kWords; ++i) {
      const int times = i == most_frequent ? kOftenAsOthers : 1;
      for (int k = 0; k < times; ++k) round.push_back(kind.words[i]);
    }
    prompt.questions.push_back(question_about(kind, kind.words[most_frequent], options.chat));
  }
  // Whole rounds, so that the proportions hold whatever the length.
  prompt.text = "List:";
  int64_t left = options.context - kQuestionTokens - count_tokens(prompt.text);
  while (true) {
    shuffle(round, dice);
    std::string text;
    for (const std::string_view word : round) text.append(" ").append(word).append(",");
    const int64_t tokens = std::max<int64_t>(count_tokens(text), 1);
    if (tokens > left) break;
    left -= tokens;
    prompt.text += text;
  }
  prompt.text.back() = '.';
  prompt.questions.resize(static_cast<size_t>(questions));
  return prompt;
}

}  // namespace

std::vector<Prompt> make_lists(const TaskOptions& options, const TokenCounter& count_tokens) {
  Dice dice(options.seed);
  constexpr auto kPerPrompt = static_cast<int>(std::size(kKinds));
  std::vector<Prompt> prompts;
  for (int left = options.trials; left > 0; left -= kPerPrompt) {
    prompts.push_back(make_prompt(std::min(left, kPerPrompt), options, dice, count_tokens));
  }
  return prompts;
}

}  // namespace shadowattn::tool::eval
