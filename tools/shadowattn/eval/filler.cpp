#include "eval/filler.h"

#include <utility>

#include "common/failure.h"
#include "common/text.h"

namespace shadowattn::tool::eval {
namespace {

constexpr size_t kLongestSentence = 400;  // bytes

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
bool ends_sentence(char c) { return c == '.' || c == '!' || c == '?'; }
bool closes(char c) { return c == '"' || c == '\'' || c == ')'; }
bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// One past the sentence that starts at `start`: behind its full stop and closing quotes, or where
// it has become too long.
size_t sentence_end(std::string_view text, size_t start) {
  size_t last_space = 0;
  for (size_t at = start; at < text.size(); ++at) {
    if (is_space(text[at]) && at > start) last_space = at;
    if (ends_sentence(text[at])) {
      size_t end = at + 1;
      while (end < text.size() && (closes(text[end]) || ends_sentence(text[end]))) ++end;
      if (end == text.size() || is_space(text[end])) return end;
    }
    if (at - start < kLongestSentence) continue;
    if (last_space > start + kLongestSentence / 2) return last_space;
    if (!continues_character(text[at])) return at;
  }
  return text.size();
}

}  // namespace

std::vector<std::string> split_sentences(std::string_view document) {
  std::vector<std::string> sentences;
  for (size_t start = 0; start < document.size();) {
    const size_t end = sentence_end(document, start);
    sentences.emplace_back(document.substr(start, end - start));
    start = end;
  }
  return sentences;
}

Filler::Filler(std::string_view document, TokenCounter count_tokens)
    : count_tokens_(std::move(count_tokens)) {
  for (std::string& text : split_sentences(document)) {
    const int64_t tokens = count_tokens_(text);
    tokens_ += tokens;
    sentences_.push_back({std::move(text), tokens});
  }
}

std::vector<Sentence> Filler::draw(int64_t tokens, Dice& dice) const {
  if (sentences_.empty()) return made_up(tokens, dice);
  if (tokens_ < tokens) {
    throw Failure("the text has only " + format_count(tokens_) + " tokens, and " +
                  format_count(tokens) + " are needed; give a longer text or a smaller -c");
  }
  // The last place from which enough follows.
  size_t last = sentences_.size();
  for (int64_t following = 0; last > 0 && following < tokens; --last) {
    following += sentences_[last - 1].tokens;
  }
  std::vector<Sentence> chosen;
  int64_t used = 0;
  for (size_t i = dice.below(last + 1); i < sentences_.size(); ++i) {
    if (used + sentences_[i].tokens > tokens) break;
    used += sentences_[i].tokens;
    chosen.push_back(sentences_[i]);
  }
  return chosen;
}

std::vector<Sentence> Filler::made_up(int64_t tokens, Dice& dice) const {
  std::vector<Sentence> chosen;
  int64_t used = 0;
  while (true) {
    Sentence next;
    next.text = with_space(make_sentence(dice), chosen.size());
    next.tokens = count_tokens_(next.text);
    if (used + next.tokens > tokens) return chosen;
    used += next.tokens;
    chosen.push_back(std::move(next));
  }
}

}  // namespace shadowattn::tool::eval
