// Made-up facts to hide in a text and to ask for. The same seed gives the same ones on every
// machine.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/prose.h"

namespace shadowattn::tool {

inline constexpr int kMostFacts = 24;

/// One thing to find: "The code of <key> is <value>."
struct Fact {
  std::string key;    ///< two words, "amber falcon"
  std::string value;  ///< one word, "silence"
  double depth = 0;   ///< where it stands: 0 the beginning, 1 the end

  std::string sentence() const { return " The code of " + key + " is " + value + "."; }
};

/// Tokens of a piece of text in the model's vocabulary.
using TokenCounter = std::function<int64_t(std::string_view)>;

/// `count` facts with keys and values of their own, evenly spread. 1 … kMostFacts. Values that are
/// one token for the model come first: small models find these best.
std::vector<Fact> make_facts(int count, Dice& dice, const TokenCounter& count_tokens);

}  // namespace shadowattn::tool
