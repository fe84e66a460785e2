// The INT8 estimate finds the tokens that matter (table 4 of the paper, and what it leaves out).

#include <algorithm>

#include "common/text.h"
#include "eval/plots.h"
#include "eval/report_parts.h"
#include "paper/estimates.h"
#include "paper/experiments.h"
#include "paper/published.h"
#include "paper/recorded_windows.h"

namespace shadowattn::tool::paper {
namespace {

const std::vector<double> kKeeps = {0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.8};

// Indices into what estimate_configs gives.
constexpr size_t kSums = 0;
constexpr size_t kPaper = 1;
constexpr size_t kCpu = 2;
constexpr size_t kDevice = 3;
constexpr size_t kPublished = 4;

std::vector<measure::EstimateConfig> estimate_configs(measure::ScalePair mean) {
  std::vector<measure::EstimateConfig> configs(kPublished + 1);
  configs[kSums] = per_tensor_estimate("a scale per tensor, exact sums");
  configs[kSums].exact_sums = true;
  configs[kPaper] = per_tensor_estimate("a scale per tensor, INT8 scores");
  configs[kCpu].name = "here, CPU: a scale per row, exact sums";
  configs[kCpu].key_row_scales = true;
  configs[kDevice].name = "here, NPU: grid of scales, INT8 scores";
  configs[kPublished] = published_estimate("published: nearest of 9 pairs, INT8 scores", mean,
                                           published::kStep, published::kBuckets);
  return configs;
}

Json measure_length(const Workbench& workbench, int64_t length) {
  return measure_estimates(workbench, length, kKeeps, estimate_configs);
}

std::vector<Part> parts(const Workbench& workbench) {
  std::vector<Part> all;
  for (const int64_t length : workbench.lengths()) {
    const double seconds = 0.5 + static_cast<double>(length) / 5000;
    all.push_back({std::to_string(length), format_count(length) + " tokens", seconds,
                   [length](const Workbench& bench) { return measure_length(bench, length); }});
  }
  return all;
}

std::string length_text(const Json& values) {
  return format_count(values.at("windows").at("length").get<int64_t>());
}

const Json& at_keep(const Json& values, size_t estimate, double keep) {
  const auto place = std::find(kKeeps.begin(), kKeeps.end(), keep) - kKeeps.begin();
  return values.at("estimates").at(estimate).at("keeps").at(static_cast<size_t>(place));
}

double recall_of(const Json& values, size_t estimate, double keep, const char* figure) {
  return at_keep(values, estimate, keep).at("recall").at(figure);
}

// Why recall may be below the published one, as far as the figures tell.
std::string remark_of(const Json& values, double keep, double published) {
  const Json& mass = at_keep(values, kPaper, keep);
  const double kept = mass.at("mass").at("mean");
  const double relative = mass.at("relative_mass").at("mean");
  const double exact = relative > 0 ? kept / relative : 0;
  const double sums = recall_of(values, kSums, keep, "mean");
  constexpr double kFlat = 0.95;
  std::string remark;
  if (100 * sums >= published) {
    remark =
        "lost where scores are rounded to INT8: by exact sums it is " + eval::fine_percent(sums);
  } else if (exact < kFlat) {
    remark = "flat heads: even the exact choice holds only " + format_percent(exact) +
             " of the mass, so many scores are alike at the cut";
  } else {
    remark = "unexplained; by exact sums it is " + eval::fine_percent(sums);
  }
  return remark + "; the mass kept is " + eval::fine_percent(relative) + " of the exact choice's";
}

std::vector<Claim> table_4_claims(const Json& values) {
  std::vector<Claim> all;
  for (size_t i = 0; i < published::kRecallKeeps.size(); ++i) {
    double least = 100;
    double most = 0;
    for (const published::Recall& model : published::kRecall) {
      least = std::min(least, model.percent[i]);
      most = std::max(most, model.percent[i]);
    }
    const double keep = published::kRecallKeeps[i];
    const double measured = recall_of(values, kPaper, keep, "mean");
    Claim claim;
    claim.what = "Recall of INT8 estimates at " + format_fixed(100 * keep, 0) + " %";
    claim.published = format_fixed(least, 2) + " to " + format_fixed(most, 2) + " % (4 models)";
    claim.source = "Table 4";
    claim.measured = eval::fine_percent(measured) + " at " + length_text(values) + " tokens";
    if (100 * measured < least) claim.remark = remark_of(values, keep, least);
    all.push_back(std::move(claim));
  }
  return all;
}

Claim left_out(const std::string& what, double measured, const Json& values) {
  return {what, "not given", "",
          eval::fine_percent(measured) + " at " + length_text(values) + " tokens",
          "the paper gives means over heads, from 20 % on"};
}

std::vector<Claim> claims(const Findings& findings) {
  const Json& shortest = findings.front().second.values;
  const Json& longest = findings.back().second.values;
  std::vector<Claim> all = table_4_claims(shortest);
  constexpr double kKeep = published::kKeep;
  const std::string name = "Recall at 20 %, ";
  for (const auto& [figure, text] : {std::pair("first_percentile", "first percentile of rows"),
                                     std::pair("worst_head", "worst head")}) {
    all.push_back(left_out(name + text, recall_of(shortest, kPaper, kKeep, figure), shortest));
  }
  for (const double keep : {0.1, 0.05}) {
    all.push_back(left_out("Recall at " + format_fixed(100 * keep, 0) + " %",
                           recall_of(shortest, kPaper, keep, "mean"), shortest));
  }
  if (findings.size() > 1) {
    all.push_back(left_out("Recall at 20 %, longest context",
                           recall_of(longest, kPaper, kKeep, "mean"), longest));
    all.back().remark = "the paper gives no lengths beyond its samples of WikiText-2";
  }
  Claim buckets = left_out("Recall at 20 %, nearest of 9 pairs of scales",
                           recall_of(shortest, kPublished, kKeep, "mean"), shortest);
  buckets.remark = "Table 4 is about one scale per tensor, not about buckets";
  all.push_back(std::move(buckets));
  return all;
}

std::vector<std::string> keep_header(std::vector<std::string> first) {
  for (const double keep : kKeeps) first.push_back(format_fixed(100 * keep, 0) + " %");
  return first;
}

eval::Section published_section(const Json& values) {
  eval::Section section;
  section.heading = "Recall by share of tokens kept, %: Table 4 and here";
  section.note = "Means over heads. Published: 128 samples of WikiText-2. Here: " +
                 windows_text(values.at("windows")) + ".";
  section.grid.header = keep_header({"model"});
  for (const published::Recall& model : published::kRecall) {
    std::vector<std::string> row = {std::string(model.model) + " (Table 4)"};
    for (const double keep : kKeeps) {
      const auto& known = published::kRecallKeeps;
      const auto found = std::find(known.begin(), known.end(), keep);
      row.push_back(
          found == known.end()
              ? "not given"
              : format_fixed(model.percent[static_cast<size_t>(found - known.begin())], 2));
    }
    section.grid.rows.push_back(std::move(row));
  }
  for (const size_t estimate : {kPaper, kCpu, kDevice}) {
    const Json& found = values.at("estimates").at(estimate);
    std::vector<std::string> row = {found.at("scales").get<std::string>()};
    for (const double keep : kKeeps) {
      row.push_back(format_fixed(100 * recall_of(values, estimate, keep, "mean"), 2));
    }
    section.grid.rows.push_back(std::move(row));
  }
  return section;
}

// Mean, first percentile and worst head of a share, or of what is missing from it.
std::string figures_text(const Json& figures, bool missing) {
  std::string text;
  for (const char* figure : {"mean", "first_percentile", "worst_head"}) {
    const double share = figures.at(figure);
    text += text.empty() ? "" : " / ";
    text +=
        missing ? format_fixed(100 * std::max(1 - share, 0.0), 3) : format_fixed(100 * share, 1);
  }
  return text;
}

eval::Section all_lengths(const Findings& findings, const char* quality, bool missing) {
  eval::Section section;
  section.grid.header = keep_header({"estimate", "tokens"});
  for (const auto& [id, finding] : findings) {
    for (const Json& estimate : finding.values.at("estimates")) {
      std::vector<std::string> row = {estimate.at("scales").get<std::string>(),
                                      length_text(finding.values)};
      for (const Json& keep : estimate.at("keeps")) {
        row.push_back(figures_text(keep.at(quality), missing));
      }
      section.grid.rows.push_back(std::move(row));
    }
  }
  return section;
}

eval::Section recall_section(const Findings& findings) {
  eval::Section section = all_lengths(findings, "recall", false);
  section.heading = "Recall by estimate and length, %";
  section.note =
      "Mean / first percentile of rows / worst head. The 9 pairs lie around the mean over " +
      calibration_text(findings.back().second.values.at("calibrated_on_itself")) + ".";
  return section;
}

eval::Section mass_section(const Findings& findings) {
  eval::Section section = all_lengths(findings, "relative_mass", true);
  section.heading = "Mass lost by choosing by the estimate, % of what the exact choice keeps";
  section.note =
      "Mean / worst 1 % of rows / worst head. A missed token that is hardly smaller than the one "
      "taken instead costs recall but next to no mass.";
  return section;
}

eval::Section counters(const Findings& findings) {
  eval::Section section;
  section.heading = "What the scales cut off, and ties";
  section.note =
      "Clipped: elements of queries and keys beyond the scale. Saturated: scores at 127 or -127. "
      "Tied: of the tokens kept at 20 %, those with the score of a token left out; which of them "
      "are kept is left open, and recall is the mean over all choices. Out of grid: KV heads for "
      "which there is no scale and that the CPU estimates. A row of the table holds all windows.";
  section.grid.header = {"estimate",  "tokens",      "clipped", "saturated",
                         "tied 20 %", "out of grid", "KV heads"};
  for (const auto& [id, finding] : findings) {
    for (size_t i = 0; i < finding.values.at("estimates").size(); ++i) {
      const Json& estimate = finding.values.at("estimates").at(i);
      section.grid.rows.push_back(
          {estimate.at("scales").get<std::string>(), length_text(finding.values),
           eval::fine_percent(estimate.at("clipped_share")),
           eval::fine_percent(estimate.at("saturated_share")),
           eval::fine_percent(at_keep(finding.values, i, published::kKeep).at("tied_share")),
           std::to_string(estimate.at("out_of_grid_heads").get<int64_t>()),
           std::to_string(estimate.at("kv_heads").get<int64_t>())});
    }
  }
  return section;
}

eval::Section missed_by_keep(const Json& values) {
  std::vector<eval::PlotLine> lines;
  for (const Json& estimate : values.at("estimates")) {
    eval::PlotLine line{estimate.at("scales").get<std::string>(), {}, {}};
    for (const Json& keep : estimate.at("keeps")) {
      line.x.push_back(100 * keep.at("keep").get<double>());
      line.y.push_back(100 - 100 * keep.at("recall").at("mean").get<double>());
    }
    lines.push_back(std::move(line));
  }
  eval::Section section;
  section.heading = "Missed by share of tokens kept, " + length_text(values) + " tokens";
  section.note = "100 % minus recall, mean over heads: less is better.";
  section.picture = eval::line_plot("tokens kept, %", "missed, %", lines);
  section.page_only = true;
  return section;
}

eval::Section missed_by_length(const Findings& findings) {
  std::vector<eval::PlotLine> lines;
  for (const size_t estimate : {kPaper, kCpu, kDevice}) {
    for (const auto& [figure, text] :
         {std::pair("mean", ""), std::pair("first_percentile", ", worst 1 % of rows")}) {
      eval::PlotLine line;
      for (const auto& [id, finding] : findings) {
        line.label =
            finding.values.at("estimates").at(estimate).at("scales").get<std::string>() + text;
        line.x.push_back(finding.values.at("windows").at("length").get<double>());
        line.y.push_back(100 - 100 * recall_of(finding.values, estimate, published::kKeep, figure));
      }
      lines.push_back(std::move(line));
    }
  }
  eval::Section section;
  section.heading = "Missed at 20 % by length of context";
  section.note = "100 % minus recall: less is better.";
  section.picture = eval::line_plot("context, tokens", "missed, %", lines);
  section.page_only = true;
  return section;
}

Chapter write(const Findings& findings) {
  if (findings.empty()) return {};
  Chapter chapter;
  chapter.claims = claims(findings);
  const Json& shortest = findings.front().second.values;
  chapter.sections = {published_section(shortest), missed_by_keep(shortest)};
  if (findings.size() > 1) {
    chapter.sections.push_back(missed_by_keep(findings.back().second.values));
    chapter.sections.push_back(missed_by_length(findings));
  }
  chapter.sections.push_back(recall_section(findings));
  chapter.sections.push_back(mass_section(findings));
  chapter.sections.push_back(counters(findings));
  return chapter;
}

}  // namespace

Experiment recall_experiment() {
  return {
      "recall",
      "The INT8 estimate finds the tokens that matter",
      "Table 4",
      "Each row's top tokens by the INT8 estimate are compared with its top tokens by exact "
      "logits of the recorded operands, in all layers, or in eight, evenly spread, of models with "
      "more. Tokens that our engine always keeps (sinks, recent ones) get no help here. The "
      "published scheme chooses among 9 pairs of scales around a calibrated mean; its multiplier "
      "for scores is chosen per head here, where the published code has one for the model.",
      parts,
      write};
}

}  // namespace shadowattn::tool::paper
