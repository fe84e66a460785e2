// The whole comparison as a markdown table: ggml, dense, and shadow by granularity, in turns.
#pragma once

#include <string>
#include <vector>

#include "measure/attention_problem.h"
#include "peaks.h"
#include "shadowattn/engine.h"
#include "shadowattn/executor.h"

namespace shadowattn::bench {

using tool::measure::AttentionProblem;

struct TableOptions {
  std::vector<double> errors = {0.02};
  std::vector<double> keeps = {0.2, 0.1};
  std::vector<int> rows = {1, 2, 4, 8};
  int rounds = 5;
  std::string isa;  ///< empty: the best here
  int threads = 1;
};

/// The settings of one row of the table; none: ggml's own attention.
struct Variant {
  std::string name;
  bool ggml = false;
  EngineOptions engine;
};

/// ggml, dense, every output error, then every keep × rows × (heads shared, own).
std::vector<Variant> table_variants(const TableOptions& options);

/// "| peak | …": what was measured of this machine.
std::string peaks_table(const MachinePeaks& peaks);

/// Measures and renders one problem. Variants take turns, in alternating order; times are medians,
/// ratios are medians of the ratios within a round. Shows progress; throws tool::Failure.
std::string attention_table(const AttentionProblem& problem, const TableOptions& options,
                            const MachinePeaks& peaks, Executor& executor,
                            const std::string& label);

}  // namespace shadowattn::bench
