// What share of tokens, number of static scales and step between them do to quality (the paper's
// sensitivity study).

#include <algorithm>
#include <array>
#include <cmath>

#include "common/text.h"
#include "eval/plots.h"
#include "eval/report_parts.h"
#include "paper/estimates.h"
#include "paper/experiments.h"
#include "paper/kld_part.h"
#include "paper/published.h"
#include "paper/recorded_windows.h"

namespace shadowattn::tool::paper {
namespace {

constexpr char kSource[] = "sensitivity study";
constexpr char kScales[] = "scales";  // part
constexpr char kRows[] = "lists per row";
constexpr char kDefaultLists[] = "default lists";

const std::vector<double> kKeeps = {0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.8};
const std::vector<double> kQuickKeeps = {0.1, 0.2, 0.3, 0.5};
constexpr std::array<int, 5> kCounts = {1, 3, 5, 9, 25};
constexpr std::array<double, 5> kSteps = {0.5, 0.25, 0.1, 0.05, 0.005};
constexpr int64_t kLongest = 4096;

std::string percent(double share) { return format_fixed(100 * share, 0) + " %"; }

std::string share_part(double keep) { return "share-" + format_fixed(100 * keep, 0); }

std::string step_text(double step) {
  std::string text = format_fixed(step, 3);
  while (text.back() == '0') text.pop_back();
  return text;
}

// The names in JSON and tables.
std::string count_name(int count) {
  return std::to_string(count) + (count == 1 ? " pair" : " pairs");
}
std::string step_name(double step) { return "step " + step_text(step); }

std::vector<measure::EstimateConfig> estimate_configs(measure::ScalePair mean) {
  std::vector<measure::EstimateConfig> configs;
  for (const int count : kCounts) {
    configs.push_back(published_estimate(count_name(count), mean, published::kStep, count));
  }
  for (const double step : kSteps) {
    configs.push_back(published_estimate(step_name(step), mean, step, published::kBuckets));
  }
  return configs;
}

Json measure_scales(const Workbench& workbench, int64_t length) {
  return measure_estimates(workbench, length, kKeeps, estimate_configs);
}

Json measure_share(const Workbench& workbench, double keep) {
  Config ours = workbench.quality_config();
  ours.min_rows = 1;
  ours.engine.attn_error = 0;
  ours.engine.output_error = 0;
  ours.engine.keep = keep;
  ours.engine.keep_floor = 1;
  Json values = {{"keep", keep}};
  values.update(
      measure_kld(workbench, {{kRows, row_lists(workbench, keep)}, {kDefaultLists, ours}}));
  return values;
}

std::vector<Part> parts(const Workbench& workbench) {
  std::vector<Part> all;
  const std::vector<int64_t> lengths = workbench.lengths();
  const auto longer = std::upper_bound(lengths.begin(), lengths.end(), kLongest);
  if (longer != lengths.begin()) {
    const int64_t length = *std::prev(longer);
    all.push_back({kScales, "number of scales and step", workbench.quick ? 2.0 : 5.0,
                   [length](const Workbench& bench) { return measure_scales(bench, length); }});
  }
  if (kld_context(workbench) == 0) return all;
  for (const double keep : workbench.quick ? kQuickKeeps : kKeeps) {
    all.push_back({share_part(keep), percent(keep) + " of the tokens", workbench.quick ? 2.0 : 9.0,
                   [keep](const Workbench& bench) { return measure_share(bench, keep); }});
  }
  return all;
}

const Json* find_estimate(const Json* values, const std::string& name) {
  return find_entry(values, "estimates", "scales", name);
}

/// NaN when it was not measured. `quality`: "recall" or "relative_mass".
double mean_at(const Json* values, const std::string& name, double keep, const char* quality) {
  const Json* estimate = find_estimate(values, name);
  if (estimate != nullptr) {
    for (const Json& at : estimate->at("keeps")) {
      if (at.at("keep") == keep) return at.at(quality).at("mean");
    }
  }
  return std::nan("");
}

double kld_at(const Findings& findings, double keep, const char* method) {
  const Json* found = find_method(find_part(findings, share_part(keep)), method);
  return found == nullptr ? std::nan("") : found->at("mean_kld").get<double>();
}

void add_knee_claim(const Findings& findings, std::vector<Claim>* claims) {
  const double at_10 = kld_at(findings, 0.1, kRows);
  const double at_20 = kld_at(findings, 0.2, kRows);
  const double at_30 = kld_at(findings, 0.3, kRows);
  if (!std::isfinite(at_10 + at_20 + at_30)) return;
  Claim claim;
  claim.what = "Share of tokens kept: the knee";
  claim.published = "20 %; more is slower, less loses accuracy";
  claim.source = kSource;
  claim.measured = "mean KLD " + eval::small_number(at_10) + " / " + eval::small_number(at_20) +
                   " / " + eval::small_number(at_30) + " nats at 10 / 20 / 30 %";
  // A knee: what is gained up to there is much more than what the next step as wide gains.
  constexpr double kKnee = 2;
  if (at_10 - at_20 < kKnee * (at_20 - at_30)) {
    claim.remark =
        "no knee at 20 % by this measure: from 20 to 30 % it still falls by more than "
        "half of what it fell before; unexplained";
  }
  claims->push_back(std::move(claim));
}

std::string recall_text(double recall) { return eval::fine_percent(recall); }

void add_count_claims(const Json* values, std::vector<Claim>* claims) {
  const auto at = [&](int count) {
    return mean_at(values, count_name(count), published::kKeep, "recall");
  };
  if (!std::isfinite(at(5) + at(9) + at(25))) return;
  constexpr double kNoticed = 0.0005;  // half of the last digit that anybody quotes
  Claim five_to_nine = {"From 5 to 9 pairs of scales", "accuracy rises", kSource,
                        "recall at 20 %: " + recall_text(at(5)) + " to " + recall_text(at(9)), ""};
  if (at(9) - at(5) < kNoticed) {
    five_to_nine.remark = "no rise: with one pair it is " + recall_text(at(1)) + " already";
  }
  Claim more = {"More than 9 pairs of scales", "no further rise", kSource,
                "recall at 20 %, 25 pairs: " + recall_text(at(25)), ""};
  if (at(25) - at(9) >= kNoticed) more.remark = "a further rise; unexplained";
  claims->push_back(std::move(five_to_nine));
  claims->push_back(std::move(more));
}

void add_step_claim(const Json* values, std::vector<Claim>* claims) {
  std::string measured;
  double best = 0;
  double best_step = 0;
  for (const double step : kSteps) {
    const double recall = mean_at(values, step_name(step), published::kKeep, "recall");
    if (!std::isfinite(recall)) return;
    measured += (measured.empty() ? "" : ", ") + step_text(step) + ": " + recall_text(recall);
    if (recall > best) best_step = step;
    best = std::max(best, recall);
  }
  Claim claim = {"Step between scales", "0.5 is best; 5e-3 is less bad than others", kSource,
                 "recall at 20 % by step " + measured, ""};
  if (best_step != published::kStep) {
    claim.remark =
        "step " + step_text(best_step) + " is best here, by " +
        format_fixed(
            100 * (best - mean_at(values, step_name(published::kStep), published::kKeep, "recall")),
            2) +
        " points; unexplained";
  }
  claims->push_back(std::move(claim));
}

eval::Section scales_section(const Json& values) {
  eval::Section section;
  section.heading = "Recall by number of pairs and by step, %";
  section.note =
      "Nearest of so many pairs of scales around the mean over " +
      calibration_text(values.at("calibrated_on_itself")) +
      " (step 0.5), and nearest of 9 pairs by step; INT8 scores. Last columns: first percentile of "
      "rows, and mass kept of what the exact choice keeps, both at 20 %. " +
      windows_text(values.at("windows")) + ".";
  section.grid.header = {"scales"};
  for (const double keep : kKeeps) section.grid.header.push_back(percent(keep));
  section.grid.header.insert(section.grid.header.end(),
                             {"20 %, worst 1 %", "20 %, mass", "clipped"});
  for (const Json& estimate : values.at("estimates")) {
    std::vector<std::string> row = {estimate.at("scales").get<std::string>()};
    std::vector<std::string> last;
    for (const Json& at : estimate.at("keeps")) {
      row.push_back(format_fixed(100 * at.at("recall").at("mean").get<double>(), 2));
      if (at.at("keep") != published::kKeep) continue;
      last = {format_fixed(100 * at.at("recall").at("first_percentile").get<double>(), 2),
              format_fixed(100 * at.at("relative_mass").at("mean").get<double>(), 2)};
    }
    row.insert(row.end(), last.begin(), last.end());
    row.push_back(eval::fine_percent(estimate.at("clipped_share")));
    section.grid.rows.push_back(std::move(row));
  }
  return section;
}

std::vector<eval::Section> share_sections(const Findings& findings) {
  eval::Section table;
  table.heading = "Quality by share of tokens kept";
  table.grid.header = {"share", "lists", "kept", "mean KLD, nats", "99 % KLD", "same top token"};
  std::vector<eval::PlotLine> lines = {{kRows, {}, {}}, {kDefaultLists, {}, {}}};
  for (const double keep : kKeeps) {
    const Json* values = find_part(findings, share_part(keep));
    if (values == nullptr) continue;
    table.note =
        kld_note(*values) +
        " Lists per row: as in the paper, no token forced in. Default lists: ours, one for "
        "8 rows and all heads of a KV head, with sinks and recent tokens.";
    for (eval::PlotLine& line : lines) {
      const Json* method = find_method(values, line.label);
      if (method == nullptr) continue;
      table.grid.rows.push_back({percent(keep), line.label, eval::fine_percent(method->at("kept")),
                                 kld_text(*method), eval::small_number(method->at("p99_kld")),
                                 eval::fine_percent(method->at("same_top"))});
      line.x.push_back(100 * keep);
      line.y.push_back(method->at("mean_kld"));
    }
  }
  if (table.grid.empty()) return {};
  eval::Section plot;
  plot.heading = "Mean KLD by share of tokens kept";
  plot.picture = eval::line_plot("tokens kept, %", "mean KLD, nats", lines);
  plot.page_only = true;
  return {table, plot};
}

Chapter write(const Findings& findings) {
  Chapter chapter;
  const Json* scales = find_part(findings, kScales);
  add_knee_claim(findings, &chapter.claims);
  add_count_claims(scales, &chapter.claims);
  add_step_claim(scales, &chapter.claims);
  chapter.sections = share_sections(findings);
  if (scales != nullptr) chapter.sections.push_back(scales_section(*scales));
  return chapter;
}

}  // namespace

Experiment sensitivity_experiment() {
  return {
      "sensitivity",
      "Share of tokens, number of scales, step",
      kSource,
      "The paper measures accuracy and latency on tasks. Here quality is measured: KL divergence "
      "on text by share of tokens, and recall of the estimate by number of scales and step. The "
      "paper does not say which pairs its counts stand for; here 3 are the diagonal, 5 the "
      "cross, 9 and 25 the products of 3 and 5 scales.",
      parts,
      write};
}

}  // namespace shadowattn::tool::paper
