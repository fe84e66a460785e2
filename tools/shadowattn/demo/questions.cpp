#include "demo/questions.h"

#include <algorithm>
#include <cctype>

#include "common/text.h"

namespace shadowattn::tool {
namespace {

constexpr size_t kStartWords = 9;
constexpr size_t kExpectedWords = 4;
constexpr size_t kSentenceWords = kStartWords + kExpectedWords + 2;

struct KnownQuestion {
  const char* evidence;  // where the answer stands
  const char* text;
  const char* start;
  const char* expected;
};

constexpr KnownQuestion kKnownQuestions[] = {
    {"The antitrust law should not be repealed", "What should not be done with the antitrust law?",
     "The antitrust law should not be", "repealed"},
    {"from 2 per cent to 30 percent", "How much did the interest on call money fluctuate?",
     "The interest on call money fluctuated from 2 per cent to", "30"},
    {"subject to the same supervision as banks", "What should be done about trust companies?",
     "Trust companies should be subject to the same supervision as", "banks"},
    {"expended for the Panama Canal", "What were the fifty millions expended for?",
     "The fifty millions were expended for the", "Panama Canal"},
    {"estates worth $5,000 or less", "Which estates are practically exempt in Great Britain?",
     "In Great Britain all the estates are practically exempt from death duties that are worth",
     "$5,000"},
    {"inheritance as exceeds $10,000,000", "What happens to a large inheritance in France?",
     "In France so much of an inheritance as exceeds", "$10,000,000"},
};

// Words of letters, digits and what holds them together; the rest of a text is white space.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || byte >= 0x80) {
      words.back() += static_cast<char>(std::tolower(byte));
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

// Where the sentences of a text begin: behind ". ", at a capital letter.
std::vector<size_t> sentence_starts(std::string_view text) {
  std::vector<size_t> starts;
  for (size_t i = 2; i < text.size(); ++i) {
    const bool after_stop = text[i - 2] == '.' && text[i - 1] == ' ';
    if (after_stop && std::isupper(static_cast<unsigned char>(text[i])) != 0) starts.push_back(i);
  }
  return starts;
}

// The end of word number `count` of the text; npos when it has not as many.
size_t end_of_words(std::string_view text, size_t count) {
  size_t at = 0;
  for (size_t i = 0; i < count; ++i) {
    at = text.find_first_of(" \n", at + 1);
    if (at == std::string_view::npos) return at;
  }
  return at;
}

// The sentence that begins at `from`, as a question; without text when it does not serve.
Question quotation_at(std::string_view text, size_t from) {
  const std::string_view sentence = text.substr(from, text.find_first_of(".\n", from) - from);
  const size_t start = end_of_words(sentence, kStartWords);
  const size_t end = end_of_words(sentence, kStartWords + kExpectedWords);
  if (end_of_words(sentence, kSentenceWords - 1) == std::string_view::npos) return {};
  const std::string_view beginning = sentence.substr(0, start);
  if (text.find(beginning) != from || text.find(beginning, from + 1) != std::string_view::npos) {
    return {};
  }
  return {"Quote the sentence of the text that begins with \"" + std::string(beginning) + "\".",
          std::string(beginning), std::string(sentence.substr(start + 1, end - start - 1))};
}

}  // namespace

std::vector<Question> known_questions(std::string_view text) {
  std::vector<Question> questions;
  for (const KnownQuestion& known : kKnownQuestions) {
    if (text.find(known.evidence) == std::string_view::npos) continue;
    questions.push_back({known.text, known.start, known.expected});
  }
  return questions;
}

std::vector<Question> quotations(std::string_view text, int count) {
  std::vector<size_t> starts = sentence_starts(text);
  std::vector<Question> questions;
  for (int i = 0; i < count; ++i) {
    // The next sentence that serves behind where one is wanted, or else from the beginning on.
    const auto wanted = static_cast<size_t>((i + 0.5) / count * static_cast<double>(text.size()));
    std::vector<size_t> order = starts;
    std::rotate(order.begin(), std::lower_bound(order.begin(), order.end(), wanted), order.end());
    for (const size_t start : order) {
      Question question = quotation_at(text, start);
      if (question.text.empty()) continue;
      questions.push_back(std::move(question));
      std::erase(starts, start);
      break;
    }
  }
  return questions;
}

bool is_right(const Question& question, std::string_view answer) {
  const std::vector<std::string> expected = words_of(question.expected);
  const std::vector<std::string> found = words_of(answer);
  return !expected.empty() &&
         std::search(found.begin(), found.end(), expected.begin(), expected.end()) != found.end();
}

}  // namespace shadowattn::tool
