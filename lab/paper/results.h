// What `shadowattn-lab paper` has found so far, on disk: paper.json in the report's folder,
// complete after every part, so that a run that was stopped goes on where it was.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "paper/findings.h"

namespace shadowattn::tool::paper {

/// What findings must have in common to stand in one report.
struct RunFacts {
  std::string model;           ///< file name
  std::string description;     ///< "qwen2 1B Q4_0"
  std::string model_checksum;  ///< model_identity.h
  std::string texts;           ///< names, for people
  std::string texts_checksum;
  std::string machine;  ///< processor, cores used by default, features in use, memory
  std::string version;  ///< of shadowattn and llama.cpp
  int threads = 0;
  int ubatch = 0;
  uint64_t seed = 0;
  bool quick = false;
};

class Results {
 public:
  /// Takes over what an earlier run of the same facts left at `path`; with `fresh`, nothing.
  /// Throws Failure when the file there is of other facts, or none of ours.
  Results(std::string path, RunFacts facts, bool fresh);

  const RunFacts& facts() const { return facts_; }
  bool has(const std::string& experiment, const std::string& part) const;
  /// Keeps a finding, on disk too, or throws Failure.
  void add(const std::string& experiment, const std::string& part, Finding finding);
  /// Of one experiment: those of `parts` that there are, in their order.
  Findings findings(const std::string& experiment, const std::vector<std::string>& parts) const;

  /// Writes everything again, with the command line and whether all is measured.
  void save(const std::string& command, bool complete);

 private:
  void load();
  void write() const;

  std::string path_;
  RunFacts facts_;
  std::string command_;
  bool complete_ = false;
  std::map<std::string, std::map<std::string, Finding>> found_;  // by experiment and part
};

}  // namespace shadowattn::tool::paper
