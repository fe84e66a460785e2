// What every experiment of `shadowattn paper` works with.
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
  std::string name;  ///< file name; empty: made-up prose
  std::string content;
  std::vector<llama_token> tokens;  ///< of all of it, without start tokens
};

struct Workbench {
  eval::Workplace place;    ///< model, plug-in, threads, ubatch
  bool quick = false;       ///< few short texts: for a look and for tests
  std::vector<Text> texts;  ///< at least one
  uint64_t seed = 1;

  /// Lengths of context that experiments go through: 1024, 2048, … 16384; 512 and 1024 when quick;
  /// as far as the model and the longest text reach. May be empty.
  std::vector<int64_t> lengths() const;

  /// Windows of `length` tokens, start tokens included, from
  /// all texts in turn, no two of a text overlapping. At most `count`; fewer when texts are short.
  std::vector<std::vector<llama_token>> windows(int64_t length, int count) const;

  /// For the plug-in in experiments about quality: no gate, so that results do not depend on how
  /// fast this machine is.
  Config quality_config() const;
};

}  // namespace shadowattn::tool::paper
