// What every experiment of `shadowattn-lab paper` works with.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eval/workplace.h"
#include "shadowattn/config.h"

namespace shadowattn::tool::paper {

/// A text that the model reads.
struct Text {
  std::string name;  ///< file name
  std::string content;
  std::vector<llama_token> tokens;  ///< of all of it, without start tokens
};

/// How much is measured: what lets all of it end within an hour on two cores.
struct Effort {
  int64_t longest = 0;               ///< context of any experiment, in tokens
  int prefill_step = 1;              ///< every n-th length of prompts is timed
  int64_t longest_whole_prompt = 0;  ///< that is timed from its first token to its last
  int64_t prompt = 0;                ///< of questions and texts whose answers are compared
  int trials = 0;                    ///< questions of a kind
  int windows = 0;                   ///< texts whose probabilities are compared
  int64_t kld_context = 0;           ///< of ablations and sensitivity
  int kld_windows = 0;
  int repetitions = 0;           ///< of timed prompts
  int64_t recorded_tokens = 0;   ///< read for the attention of one length
  size_t importance_tokens = 0;  ///< that the loss without each of many heads is measured on
};

/// The larger the model, the less. `quick`: for a look and for tests.
Effort effort_for(const LlamaModel& model, bool quick);

struct Workbench {
  eval::Workplace place;  ///< model, plug-in, threads, ubatch
  bool quick = false;     ///< few short texts: for a look and for tests
  Effort effort;
  std::vector<Text> texts;  ///< at least one
  uint64_t seed = 1;

  /// Lengths of context that experiments go through: 1024, 2048, … 16384 (512 and 1024 when quick),
  /// as far as the effort, the model and the longest text reach. May be empty.
  std::vector<int64_t> lengths() const;

  /// Windows of `length` tokens, start tokens included, from
  /// all texts in turn, no two of a text overlapping. At most `count`; fewer when texts are short.
  std::vector<std::vector<llama_token>> windows(int64_t length, int count) const;

  /// For the plug-in in experiments about quality: no gate, so that results do not depend on how
  /// fast this machine is.
  Config quality_config() const;
};

}  // namespace shadowattn::tool::paper
