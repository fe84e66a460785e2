// What the generators of tasks share.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eval/tasks.h"

namespace shadowattn::tool::eval {

/// Tokens left free behind a text, for question and answer.
inline constexpr int64_t kQuestionTokens = 192;

template <typename Element>
void shuffle(std::vector<Element>& elements, Dice& dice) {
  for (size_t i = elements.size(); i > 1; --i) std::swap(elements[i - 1], elements[dice.below(i)]);
}

/// A sentence to be put into the filler.
struct Insertion {
  double depth = 0;  ///< ascending
  std::string text;
};

/// Filler of `tokens` tokens together with what is inserted between its sentences.
std::string text_with(const std::vector<Insertion>& insertions, int64_t tokens,
                      const Filler& filler, Dice& dice, const TokenCounter& count_tokens);

std::vector<Prompt> make_needles(const TaskOptions& options, const Filler& filler,
                                 const TokenCounter& count_tokens);
std::vector<Prompt> make_recitals(const TaskOptions& options, const Filler& filler,
                                  const TokenCounter& count_tokens);
std::vector<Prompt> make_chains(const TaskOptions& options, const Filler& filler,
                                const TokenCounter& count_tokens);
std::vector<Prompt> make_lists(const TaskOptions& options, const TokenCounter& count_tokens);
std::vector<Prompt> make_calls(const TaskOptions& options, const TokenCounter& count_tokens);

}  // namespace shadowattn::tool::eval
