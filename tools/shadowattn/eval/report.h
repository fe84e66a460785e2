// Results of an evaluation as a page and as JSON (keys: docs/eval.md).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/ask.h"
#include "eval/kld_run.h"
#include "eval/page.h"
#include "eval/recall_run.h"

namespace shadowattn::tool::eval {

/// What was asked for.
struct EvalFacts {
  std::string task;
  std::string model;        ///< file name
  std::string description;  ///< "qwen2 1B Q4_0"
  std::string text;         ///< file name; empty: the task makes its own
  int64_t context = 0;
  int trials = 0;
  uint64_t seed = 0;
  int facts = 0;    ///< needle: in each text; 0: one or several
  int passage = 0;  ///< recite: tokens to be repeated, at least
  int threads = 0;
  double output_error = 0;  ///< of the headline, as the next two
  double attn_error = 0;
  double keep = 1;
};

struct Report {
  Page page;
  nlohmann::ordered_json json;
};

Report kld_report(const EvalFacts& facts, const std::vector<KldLength>& lengths);

Report answers_report(const EvalFacts& facts, bool chat, const std::vector<Prompt>& prompts,
                      const std::vector<MethodAnswers>& methods);

Report recall_report(const EvalFacts& facts, const std::vector<RecallAtSetting>& results);

}  // namespace shadowattn::tool::eval
