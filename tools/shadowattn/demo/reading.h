// The demo's work: one document, several questions, read by each side in turn.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/machine_load.h"
#include "demo/questions.h"
#include "eval/kld_statistics.h"
#include "eval/workplace.h"

namespace shadowattn::tool {

/// The document and the questions as tokens.
struct Reading {
  std::string document;             ///< file name
  bool chat = false;                ///< asked through the model's chat template
  std::string text;                 ///< as much of the document as is read
  std::vector<llama_token> prefix;  ///< up to the end of the text
  std::vector<Question> questions;
  std::vector<std::vector<llama_token>> question_tokens;  ///< to follow the prefix
};

/// One way to compute attention, and what came of it.
struct Side {
  explicit Side(eval::Method side_method) : method(std::move(side_method)) {}

  eval::Method method;
  std::vector<double> chunk_seconds;  ///< of the prefix, a ubatch each
  double first_token_seconds = 0;     ///< of prefix and first question
  double kept = 1;                    ///< share of the (row, token) pairs attended to in the prefix
  std::vector<std::string> answers;   ///< one per question
  eval::KldStatistics distance;       ///< of the last tokens, from dense attention in f32
};

struct DemoResult {
  std::string model;        ///< file name
  std::string description;  ///< "llama 135M Q4_1"
  Reading reading;
  int threads = 0;
  std::vector<Side> sides;
  int64_t scored_tokens = 0;              ///< that `distance` is of
  std::optional<OtherLoad> other_load{};  ///< while the prefix was read
};

struct ReadingOptions {
  std::string document;              ///< file name
  int64_t tokens = 0;                ///< of prompt and answer together, at most
  std::vector<std::string> prompts;  ///< a person's questions; none: quotations
  int quotations = 0;                ///< how many, when there are no prompts
  int answer_tokens = 0;
};

/// As much of the text as fits. Throws Failure when nothing of it does.
Reading make_reading(const LlamaModel& model, const std::string& text,
                     const ReadingOptions& options);

/// Warms up; then the sides read the prefix in turns, one ubatch each, every second time in the
/// opposite order, so that a busy machine hits all alike; then each answers all questions; then the
/// last tokens are read once more, their probabilities compared with those of dense attention in
/// f32. Throws Failure, also when interrupted.
void read_side_by_side(const eval::Workplace& workplace, int answer_tokens, DemoResult& result);

}  // namespace shadowattn::tool
