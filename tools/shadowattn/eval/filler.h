// The text around what a model is asked about: sentences of a document, or made-up prose.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "eval/facts.h"
#include "eval/prose.h"

namespace shadowattn::tool::eval {

struct Sentence {
  std::string text;  ///< with the white space before it
  int64_t tokens = 0;
};

/// Sentences of `document`, which together are the whole of it. A text without full stops is cut
/// between words.
std::vector<std::string> split_sentences(std::string_view document);

class Filler {
 public:
  /// An empty document: prose from prose.h. `count_tokens` is used during construction and draw.
  Filler(std::string_view document, TokenCounter count_tokens);

  /// Neighbouring sentences from a place that `dice` chooses, of at most `tokens` tokens together.
  /// Throws Failure when the document is shorter than that.
  std::vector<Sentence> draw(int64_t tokens, Dice& dice) const;

 private:
  std::vector<Sentence> made_up(int64_t tokens, Dice& dice) const;

  TokenCounter count_tokens_;
  std::vector<Sentence> sentences_;  // of the document
  int64_t tokens_ = 0;               // their sum
};

}  // namespace shadowattn::tool::eval
