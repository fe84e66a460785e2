// Chains of statements: " The code of amber falcon is velvet." … " The code of iron ladder is the
// code of amber falcon." What is the code of iron ladder?
#include <algorithm>

#include "eval/task_parts.h"

namespace shadowattn::tool::eval {
namespace {

constexpr int kChains = 5;  // per prompt
constexpr int kHops = 2;    // from a chain's value to the last key
constexpr int kPlainAnswer = 6;
constexpr int kChatAnswer = 64;

// Two chains solved, so that a model that only continues text knows what is wanted.
constexpr char kExamples[] =
    "\n\nThe code of red door is paper. The code of tall tower is the code of red door. So the "
    "code of tall tower is paper.\nThe code of grey coat is music. The code of small boat is the "
    "code of grey coat. So the code of small boat is music.\nSo the code of ";

struct Chain {
  std::string last_key;
  std::string value;
};

Question question_about(const Chain& chain, bool chat) {
  Question question;
  question.text = chat ? "\n\nWhat word is the code of " + chain.last_key +
                             "? Follow the statements back to the word. Answer with that one word."
                       : kExamples + chain.last_key + " is";
  question.expected = chain.value;
  question.match = chat ? Match::kContains : Match::kFirstWord;
  question.answer_tokens = chat ? kChatAnswer : kPlainAnswer;
  return question;
}

// Statement `hop` of every chain stands in the same stretch of the text, behind those of hop - 1.
Prompt make_prompt(int questions, const TaskOptions& options, const Filler& filler, Dice& dice,
                   const TokenCounter& count_tokens) {
  const std::vector<Fact> facts = make_facts(kChains * (kHops + 1), dice, count_tokens);
  Prompt prompt;
  prompt.length = options.context;
  std::vector<Insertion> insertions;
  for (int hop = 0; hop <= kHops; ++hop) {
    for (int chain = 0; chain < kChains; ++chain) {
      const Fact& fact = facts[static_cast<size_t>(hop * kChains + chain)];
      Insertion insertion{fact.depth, fact.sentence()};
      if (hop > 0) {
        const Fact& before = facts[static_cast<size_t>((hop - 1) * kChains + chain)];
        insertion.text = " The code of " + fact.key + " is the code of " + before.key + ".";
      }
      insertions.push_back(std::move(insertion));
      if (hop < kHops) continue;
      const Fact& first = facts[static_cast<size_t>(chain)];
      prompt.questions.push_back(question_about({fact.key, first.value}, options.chat));
      prompt.questions.back().depth = first.depth;
    }
  }
  prompt.text =
      text_with(insertions, options.context - kQuestionTokens, filler, dice, count_tokens);
  shuffle(prompt.questions, dice);
  prompt.questions.resize(static_cast<size_t>(questions));
  return prompt;
}

}  // namespace

std::vector<Prompt> make_chains(const TaskOptions& options, const Filler& filler,
                                const TokenCounter& count_tokens) {
  Dice dice(options.seed);
  std::vector<Prompt> prompts;
  for (int left = options.trials; left > 0; left -= kChains) {
    prompts.push_back(make_prompt(std::min(left, kChains), options, filler, dice, count_tokens));
  }
  return prompts;
}

}  // namespace shadowattn::tool::eval
