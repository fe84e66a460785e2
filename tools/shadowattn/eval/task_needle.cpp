// Facts in a text: " The code of amber falcon is velvet."
#include <algorithm>

#include "eval/task_parts.h"

namespace shadowattn::tool::eval {
namespace {

constexpr int kPlainAnswer = 6;  // tokens
constexpr int kChatAnswer = 48;
constexpr int kFactsOfSeveral = 10;
constexpr double kDepths[] = {0.1, 0.3, 0.5, 0.7, 0.9};  // of facts alone

Question question_about(const Fact& fact, bool chat) {
  Question question;
  question.text = chat ? "\n\nWhat is the code of " + fact.key + "? Answer with that one word."
                       : " The code of " + fact.key + " is";
  question.expected = fact.value;
  question.match = chat ? Match::kContains : Match::kFirstWord;
  question.answer_tokens = chat ? kChatAnswer : kPlainAnswer;
  return question;
}

// A quarter and a half of the context, and all of it.
std::vector<int64_t> lengths(int64_t context) {
  std::vector<int64_t> all;
  for (const int64_t part : {4, 2, 1}) {
    if (context / part >= kShortestContext) all.push_back(context / part);
  }
  return all;
}

Prompt make_prompt(std::vector<Fact> facts, const std::string& group, int64_t length,
                   const TaskOptions& options, const Filler& filler, Dice& dice,
                   const TokenCounter& count_tokens) {
  std::vector<Insertion> insertions;
  Prompt prompt;
  prompt.length = length;
  for (const Fact& fact : facts) {
    insertions.push_back({fact.depth, fact.sentence()});
    prompt.questions.push_back(question_about(fact, options.chat));
    prompt.questions.back().group = group;
    prompt.questions.back().depth = fact.depth;
  }
  prompt.text = text_with(insertions, length - kQuestionTokens, filler, dice, count_tokens);
  return prompt;
}

// Every question about one of as many facts, in texts as long as allowed.
std::vector<Prompt> make_needles_among(int facts, const TaskOptions& options, const Filler& filler,
                                       const TokenCounter& count_tokens) {
  Dice dice(options.seed);
  std::vector<Prompt> prompts;
  for (int left = options.trials; left > 0; left -= facts) {
    prompts.push_back(make_prompt(make_facts(facts, dice, count_tokens), "several", options.context,
                                  options, filler, dice, count_tokens));
    std::vector<Question>& questions = prompts.back().questions;
    shuffle(questions, dice);
    questions.resize(static_cast<size_t>(std::min(left, facts)));
  }
  return prompts;
}

}  // namespace

// Half of the questions are about facts alone, half about one of several.
std::vector<Prompt> make_needles(const TaskOptions& options, const Filler& filler,
                                 const TokenCounter& count_tokens) {
  if (options.facts > 0) return make_needles_among(options.facts, options, filler, count_tokens);
  Dice dice(options.seed);
  const std::vector<int64_t> all_lengths = lengths(options.context);
  std::vector<Prompt> prompts;
  const int alone = (options.trials + 1) / 2;
  for (int i = 0; i < alone; ++i) {
    const auto index = static_cast<size_t>(i);
    std::vector<Fact> fact = make_facts(1, dice, count_tokens);
    fact[0].depth = kDepths[index / all_lengths.size() % std::size(kDepths)];
    prompts.push_back(make_prompt(std::move(fact), "single",
                                  all_lengths[index % all_lengths.size()], options, filler, dice,
                                  count_tokens));
  }
  // From the longest on, so that few trials are about long texts.
  for (int left = options.trials - alone, i = 0; left > 0; left -= kFactsOfSeveral, ++i) {
    const size_t length = all_lengths.size() - 1 - static_cast<size_t>(i) % all_lengths.size();
    prompts.push_back(make_prompt(make_facts(kFactsOfSeveral, dice, count_tokens), "several",
                                  all_lengths[length], options, filler, dice, count_tokens));
    std::vector<Question>& questions = prompts.back().questions;
    shuffle(questions, dice);
    questions.resize(static_cast<size_t>(std::min(left, kFactsOfSeveral)));
  }
  return prompts;
}

}  // namespace shadowattn::tool::eval
