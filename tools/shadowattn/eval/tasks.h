// Questions with known answers about long texts. The same seed gives the same prompts on every
// machine, as far as the model's tokenizer is the same.
//
//   needle  a fact somewhere in the text, alone or among facts of the same form
//   recite  continue a passage of the text word for word
//   track   a value handed on through a chain of statements
//   count   the most frequent word of a kind in a list
//   calls   which function of a long list does what is asked for, with which arguments
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/facts.h"
#include "eval/filler.h"

namespace shadowattn::tool::eval {

enum class TextTask { kNeedle, kRecite, kTrack, kCount, kCalls };

/// How an answer is compared with what was expected.
enum class Match {
  kFirstWord,  ///< the first word is it
  kContains,   ///< it occurs as a word: chat models answer in sentences
  kBegins,     ///< the text begins with it, white space aside
  kJson,       ///< the first JSON object is it, white space left out
};

struct Question {
  std::string text;  ///< follows the prompt's text
  std::string expected;
  std::string space = " ";  ///< between question and answer of a text to be continued
  Match match = Match::kFirstWord;
  int answer_tokens = 0;  ///< at most
  std::string group;      ///< questions of one kind: "single", "several"; may be empty
  double depth = 0;       ///< where the answer stands: 0 the beginning, 1 the end
  /// What to choose from, `expected` included; may be empty.
  std::vector<std::string> candidates{};
};

struct Prompt {
  std::string text;
  int64_t length = 0;  ///< tokens aimed at, question and answer included
  std::vector<Question> questions;
};

struct TaskOptions {
  int64_t context = 4096;  ///< tokens of the longest prompt with question and answer
  int trials = 200;        ///< questions
  uint64_t seed = 1;
  bool chat = false;  ///< ask in plain words, not as a text to be continued
  /// Needle: how many facts stand side by side, all in texts of `context` tokens; 0: texts of
  /// several lengths, half of them with a fact alone. At most kMostFacts.
  int facts = 0;
  /// Recite: tokens that a passage is to be continued for, at least.
  int passage = 12;
};

inline constexpr int64_t kShortestContext = 512;  ///< of TaskOptions
inline constexpr int kLongestPassage = 80;        ///< of TaskOptions; with its cue it must fit

/// Whether prompts of a task are made of a document's sentences, not of words of their own.
bool uses_filler(TextTask task);

/// Throws Failure when the filler's document is too short.
std::vector<Prompt> make_prompts(TextTask task, const TaskOptions& options, const Filler& filler,
                                 const TokenCounter& count_tokens);

/// Whether `answer` is what the question expects.
bool is_right(const Question& question, const std::string& answer);

/// How much of what is expected the answer begins with, 0 to 1; for other matches 0 or 1.
double right_share(const Question& question, const std::string& answer);

/// Whether more of the answer can change what is_right says.
bool is_settled(const Question& question, const std::string& answer);

/// The answer as people read it: its first word, or one line.
std::string shown_answer(const Question& question, const std::string& answer);

}  // namespace shadowattn::tool::eval
