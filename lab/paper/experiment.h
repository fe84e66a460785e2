// An experiment of the paper: parts that are measured one by one and kept on disk, and the chapter
// of the report that is written from what they found.
//
// The paper: "Dynamic Sparse Attention on Mobile SoCs", arXiv 2508.16703. Its figures are in
// published.h, each with the table or figure that it comes from.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "paper/findings.h"
#include "paper/workbench.h"

namespace shadowattn::tool::paper {

/// The least that is measured and kept at once: what an interruption may lose.
struct Part {
  std::string id;      ///< unique in the experiment, part of the JSON: "4096"
  std::string label;   ///< for the progress line: "4,096 tokens"
  double seconds = 1;  ///< a guess for two cores and the reference model; for the time left
  std::function<Json(const Workbench&)> measure;  ///< throws Failure, also on Ctrl-C
};

struct Experiment {
  std::string id;      ///< for --only and JSON: "recall"
  std::string title;   ///< "The estimate finds the tokens that matter"
  std::string source;  ///< what of the paper it repeats: "Table 4"
  std::string about;   ///< how it is measured, and how that differs from the paper's way
  /// What there is to measure with this model and effort.
  std::vector<Part> (*parts)(const Workbench& workbench);
  /// From the findings alone, of which some or all may be missing.
  Chapter (*write)(const Findings& findings);
};

/// All experiments in the order of the report.
const std::vector<Experiment>& experiments();

}  // namespace shadowattn::tool::paper
