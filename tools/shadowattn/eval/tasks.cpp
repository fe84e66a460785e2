#include "eval/tasks.h"

#include <algorithm>

#include "common/text.h"
#include "eval/task_parts.h"

namespace shadowattn::tool::eval {
namespace {

constexpr std::string_view kWordEnds = " .,;:!?\"'()\n\t";

// Without quotes and other marks around it; "" while nothing but these has come.
std::string first_word(const std::string& text) {
  const size_t start = text.find_first_not_of(kWordEnds);
  if (start == std::string::npos) return "";
  const size_t end = text.find_first_of(kWordEnds, start);
  return text.substr(start, end == std::string::npos ? end : end - start);
}

bool first_word_is_whole(const std::string& text) {
  const size_t start = text.find_first_not_of(kWordEnds);
  return start != std::string::npos && text.find_first_of(kWordEnds, start) != std::string::npos;
}

std::string flat(const std::string& text) { return one_line(repair_utf8(text).text); }

// The first "{...}" without white space, as far as it has come; "" while none has begun.
std::string first_object(const std::string& text) {
  std::string object;
  int open = 0;
  for (size_t at = text.find('{'); at < text.size(); ++at) {
    const char c = text[at];
    if (std::string_view(" \n\r\t").find(c) == std::string_view::npos) object += c;
    open += c == '{' ? 1 : c == '}' ? -1 : 0;
    if (open == 0) break;
  }
  return object;
}

// What is compared, of an answer and of what is expected.
std::string compared(Match match, const std::string& text) {
  return match == Match::kJson ? first_object(text) : flat(text);
}

}  // namespace

std::string text_with(const std::vector<Insertion>& insertions, int64_t tokens,
                      const Filler& filler, Dice& dice, const TokenCounter& count_tokens) {
  for (const Insertion& insertion : insertions) tokens -= count_tokens(insertion.text);
  const std::vector<Sentence> sentences = filler.draw(std::max<int64_t>(tokens, 1), dice);
  std::string text;
  size_t next = 0;
  for (size_t i = 0; i <= sentences.size(); ++i) {
    const double depth = static_cast<double>(i) / static_cast<double>(sentences.size() + 1);
    while (next < insertions.size() && (insertions[next].depth <= depth || i == sentences.size())) {
      text += insertions[next++].text;
    }
    if (i < sentences.size()) text += sentences[i].text;
  }
  return text;
}

bool uses_filler(TextTask task) { return task != TextTask::kCount && task != TextTask::kCalls; }

std::vector<Prompt> make_prompts(TextTask task, const TaskOptions& options, const Filler& filler,
                                 const TokenCounter& count_tokens) {
  switch (task) {
    case TextTask::kNeedle:
      return make_needles(options, filler, count_tokens);
    case TextTask::kRecite:
      return make_recitals(options, filler, count_tokens);
    case TextTask::kTrack:
      return make_chains(options, filler, count_tokens);
    case TextTask::kCount:
      return make_lists(options, count_tokens);
    default:
      return make_calls(options, count_tokens);
  }
}

bool is_right(const Question& question, const std::string& answer) {
  switch (question.match) {
    case Match::kFirstWord:
      return lower_case(first_word(answer)) == lower_case(question.expected);
    case Match::kContains:
      return contains_word(answer, question.expected);
    case Match::kBegins:
      return flat(answer).starts_with(flat(question.expected));
    default:
      return first_object(answer) == first_object(question.expected);
  }
}

double right_share(const Question& question, const std::string& answer) {
  const bool in_part = question.match == Match::kBegins || question.match == Match::kJson;
  if (!in_part) return is_right(question, answer) ? 1 : 0;
  const std::string expected = compared(question.match, question.expected);
  const std::string given = compared(question.match, answer);
  const auto [differs, unused] =
      std::mismatch(expected.begin(), expected.end(), given.begin(), given.end());
  return static_cast<double>(differs - expected.begin()) / static_cast<double>(expected.size());
}

bool is_settled(const Question& question, const std::string& answer) {
  switch (question.match) {
    case Match::kFirstWord:
      return first_word_is_whole(answer);
    case Match::kContains:
      return contains_word(answer + " ", question.expected) && !answer.ends_with(question.expected);
    case Match::kJson: {
      const std::string expected = first_object(question.expected);
      const std::string object = first_object(answer);
      return object == expected || !expected.starts_with(object);
    }
    default: {
      const std::string expected = flat(question.expected);
      const std::string so_far = flat(answer);
      // A cut character at the end may still become the right one.
      const size_t compared = so_far.size() > 3 ? so_far.size() - 3 : 0;
      return so_far.starts_with(expected) ||
             !expected.starts_with(so_far.substr(0, std::min(compared, expected.size())));
    }
  }
}

std::string shown_answer(const Question& question, const std::string& answer) {
  return question.match == Match::kFirstWord ? flat(first_word(answer)) : flat(answer);
}

}  // namespace shadowattn::tool::eval
