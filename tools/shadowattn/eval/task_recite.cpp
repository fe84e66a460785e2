// A passage of the text, begun again at its end: the model is to go on word for word.
#include <algorithm>

#include "common/text.h"
#include "eval/task_parts.h"

namespace shadowattn::tool::eval {
namespace {

constexpr int kPassages = 5;        // per prompt
constexpr int64_t kCueTokens = 20;  // at least
constexpr double kDeepest = 0.75;   // far back: not in the last quarter of the text

// Sentences from `first` on with at least `tokens` tokens together; one past the last of them.
size_t span_end(const std::vector<Sentence>& sentences, size_t first, int64_t tokens) {
  size_t end = first;
  for (int64_t sum = 0; end < sentences.size() && sum < tokens; ++end) sum += sentences[end].tokens;
  return end;
}

std::string joined(const std::vector<Sentence>& sentences, size_t first, size_t end) {
  std::string text;
  for (size_t i = first; i < end; ++i) text += sentences[i].text;
  return text;
}

// Bytes of its first words, of `tokens` tokens together or a few more.
size_t first_words(const std::string& text, int64_t tokens, const TokenCounter& count_tokens) {
  for (size_t at = text.find_first_of(" \n", 1); at != std::string::npos;
       at = text.find_first_of(" \n", at + 1)) {
    if (count_tokens(text.substr(0, at)) >= tokens) return at;
  }
  return text.size();
}

// `answer` begins with the white space that stands before it in the text.
Question question_about(const std::string& cue, const std::string& answer, bool chat,
                        const TokenCounter& count_tokens) {
  Question question;
  question.text = chat ? "\n\nThis passage stands in the text above: \"" + cue +
                             "\" Write what follows it there, word for word."
                       : "\n\n" + cue;
  question.expected = trim(answer);
  question.space = answer.substr(0, answer.find(question.expected));
  question.match = Match::kBegins;
  question.answer_tokens = static_cast<int>(count_tokens(question.expected)) + 4;
  return question;
}

bool occurs_once(const std::string& text, const std::string& part) {
  const size_t at = text.find(part);
  return at != std::string::npos && text.find(part, at + 1) == std::string::npos;
}

Prompt make_prompt(int questions, const TaskOptions& options, const Filler& filler, Dice& dice,
                   const TokenCounter& count_tokens) {
  const std::vector<Sentence> sentences = filler.draw(options.context - kQuestionTokens, dice);
  Prompt prompt;
  prompt.length = options.context;
  prompt.text = joined(sentences, 0, sentences.size());
  for (int i = 0; i < questions; ++i) {
    const double depth = kDeepest * (i + 0.5) / kPassages;
    auto first = static_cast<size_t>(depth * static_cast<double>(sentences.size()));
    for (; first < sentences.size(); ++first) {
      const size_t end = span_end(sentences, first, kCueTokens + 2 * options.passage);
      const std::string passage = trim(joined(sentences, first, end));
      const size_t cue_end = first_words(passage, kCueTokens, count_tokens);
      const std::string cue = passage.substr(0, cue_end);
      const std::string rest = passage.substr(cue_end);
      const std::string answer = rest.substr(0, first_words(rest, options.passage, count_tokens));
      if (trim(answer).empty()) break;
      // Where the passage begins like another one nobody could know how to go on.
      if (count_tokens(cue) > kQuestionTokens / 2 || !occurs_once(prompt.text, cue)) continue;
      prompt.questions.push_back(question_about(cue, answer, options.chat, count_tokens));
      prompt.questions.back().depth = depth;
      break;
    }
  }
  return prompt;
}

}  // namespace

std::vector<Prompt> make_recitals(const TaskOptions& options, const Filler& filler,
                                  const TokenCounter& count_tokens) {
  constexpr int kMostFruitless = 20;  // prompts without a single passage to ask for
  Dice dice(options.seed);
  std::vector<Prompt> prompts;
  for (int left = options.trials, fruitless = 0; left > 0 && fruitless < kMostFruitless;) {
    Prompt prompt = make_prompt(std::min(left, kPassages), options, filler, dice, count_tokens);
    fruitless = prompt.questions.empty() ? fruitless + 1 : 0;
    left -= static_cast<int>(prompt.questions.size());
    if (!prompt.questions.empty()) prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace shadowattn::tool::eval
