// The report of `shadowattn-lab paper`: one page from what was found.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "eval/page.h"
#include "paper/experiment.h"
#include "paper/results.h"

namespace shadowattn::tool::paper {

/// One experiment as it is to be reported.
struct ReportedExperiment {
  const Experiment* experiment = nullptr;
  std::vector<Part> parts;                      ///< what there is to measure
  std::map<std::string, std::string> failures;  ///< part -> why it could not be measured

  /// Those of the results that belong to it.
  Findings findings(const Results& results) const;
  /// What is written from these: nothing when there are none, a complaint when they are damaged.
  Chapter chapter(const Findings& findings) const;
};

/// The table of claims, then a chapter for each experiment. `command`: what made it, without
/// --only.
eval::Page report_page(const Results& results, const std::vector<ReportedExperiment>& all,
                       const std::string& command);

/// The claims for a terminal, chapter by chapter.
std::string claims_text(const Results& results, const std::vector<ReportedExperiment>& all);

}  // namespace shadowattn::tool::paper
