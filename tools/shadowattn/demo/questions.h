// What the demo asks about a document.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace shadowattn::tool {

/// A question about a text, with the answer's first words given: small models that would talk
/// around it then say what they found.
struct Question {
  std::string text;      ///< as a person would ask it
  std::string start;     ///< of the answer; the model goes on from here. May be empty
  std::string expected;  ///< what a right answer contains; empty: nobody judges
};

/// Questions about the text that comes with shadowattn, those whose answer stands in `text`; none
/// for other texts. Chosen for what a small model can answer (docs/quality.md).
std::vector<Question> known_questions(std::string_view text);

/// Sentences of `text` to be finished word for word, at most `count`, evenly spread, each with a
/// start that occurs only once. May be fewer.
std::vector<Question> quotations(std::string_view text, int count);

/// Whether the answer, which goes on from the question's start, is the expected one: the same words
/// whatever their case, punctuation and white space.
bool is_right(const Question& question, std::string_view answer);

}  // namespace shadowattn::tool
