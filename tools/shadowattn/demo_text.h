// The demo's document: generated prose with facts hidden in it. The same seed and size give the
// same text on every machine.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "prose.h"

namespace shadowattn::tool {

inline constexpr int kMostFacts = 24;

/// One thing to find: "The code of <key> is <value>."
struct Fact {
  std::string key;    ///< two words, "amber falcon"
  std::string value;  ///< one word, "silence"
  double depth = 0;   ///< where it stands: 0 the beginning, 1 the end

  std::string sentence() const { return " The code of " + key + " is " + value + "."; }
};

struct DemoText {
  std::string text;
  std::vector<Fact> facts;  ///< in the order of the text
};

/// Tokens of a piece of text in the model's vocabulary.
using TokenCounter = std::function<int64_t(std::string_view)>;

/// `count` facts with keys and values of their own, evenly spread. 1 … kMostFacts. Values that are
/// one token for the model come first: small models find these best.
std::vector<Fact> make_facts(int count, Dice& dice, const TokenCounter& count_tokens);

struct DemoTextOptions {
  uint64_t seed = 1;
  int facts = 10;      ///< 1 … kMostFacts
  int64_t tokens = 0;  ///< length to aim at; the text is not longer, and a few sentences shorter
};

DemoText make_demo_text(const DemoTextOptions& options, const TokenCounter& count_tokens);

/// Prose without facts, of at least `tokens` tokens.
std::string made_up_text(int64_t tokens, uint64_t seed, const TokenCounter& count_tokens);

}  // namespace shadowattn::tool
