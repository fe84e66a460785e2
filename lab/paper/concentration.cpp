// Softmax scores are concentrated: few tokens hold most of the mass (section 2 of the paper).

#include <algorithm>

#include "common/text.h"
#include "eval/plots.h"
#include "measure/sampled_rows.h"
#include "paper/experiments.h"
#include "paper/published.h"
#include "paper/recorded_windows.h"
#include "paper/score_spread.h"

namespace shadowattn::tool::paper {
namespace {

constexpr size_t kMass95 = 1;  // in kMasses

using HeadSpreads = std::map<std::pair<int, int64_t>, ScoreSpread>;  // by layer and head

Json to_json(const ScoreFigures& figures) {
  return {{"below", figures.below},
          {"tokens_needed", figures.needed},
          {"mass_of_top", figures.top},
          {"curve", figures.curve}};
}

void add_call(const AttentionCall& call, const RecordedWindows& windows, HeadSpreads* spreads) {
  const Visibility visibility(call, windows.executor());
  const int64_t group = call.query.heads / call.key.heads;
  for (int64_t kv_head = 0; kv_head < call.key.heads; ++kv_head) {
    for (const measure::SampledRow& row :
         measure::sample_rows(call, visibility, kv_head, windows.every(), windows.executor())) {
      (*spreads)[{call.layer, kv_head * group + row.group_head}].add(row.reference);
    }
  }
}

Json measure_length(const Workbench& workbench, int64_t length) {
  const RecordedWindows windows(workbench, length, /*calibrate=*/false);
  HeadSpreads spreads;
  windows.for_each_call("softmax scores",
                        [&](const AttentionCall& call) { add_call(call, windows, &spreads); });
  ScoreSpread all;
  Json heads = Json::array();
  for (const auto& [place, spread] : spreads) {
    all.add(spread);
    Json head = {{"layer", place.first}, {"head", place.second}};
    head.update(to_json(spread.mean()));
    heads.push_back(std::move(head));
  }
  return {{"windows", to_json(windows.facts())},
          {"rows", all.rows()},
          {"thresholds", kScoreThresholds},
          {"masses", kMasses},
          {"top_shares", kTopShares},
          {"curve_shares", kCurveShares},
          {"all", to_json(all.mean())},
          {"heads", std::move(heads)}};
}

std::vector<Part> parts(const Workbench& workbench) {
  std::vector<Part> all;
  for (const int64_t length : workbench.lengths()) {
    const double seconds = 0.5 + static_cast<double>(length) / 6000;
    all.push_back({std::to_string(length), format_count(length) + " tokens", seconds,
                   [length](const Workbench& bench) { return measure_length(bench, length); }});
  }
  return all;
}

std::string length_text(const Json& values) {
  return format_count(values.at("windows").at("length").get<int64_t>());
}

double needed_by(const Json& figures) { return figures.at("tokens_needed").at(kMass95); }

// "83.1 % at 1,024 tokens, 97.0 % at 16,384"
template <typename Value>
std::string first_and_last(const Findings& findings, const Value& value) {
  const Json& first = findings.front().second.values;
  const Json& last = findings.back().second.values;
  const std::string text = format_percent(value(first)) + " at " + length_text(first) + " tokens";
  if (findings.size() == 1) return text;
  return text + ", " + format_percent(value(last)) + " at " + length_text(last);
}

std::string flatness_remark(const Json& values) {
  double flattest = 0;
  for (const Json& head : values.at("heads")) flattest = std::max(flattest, needed_by(head));
  return "this model's heads are flatter: for 95 % of the mass the mean row needs " +
         format_percent(needed_by(values.at("all"))) +
         " of the tokens, that of the flattest head " + format_percent(flattest);
}

std::vector<Claim> claims(const Findings& findings) {
  std::vector<Claim> all;
  const Json& shortest = findings.front().second.values;
  const double published[] = {published::kScoresBelow001, published::kScoresBelow003};
  for (size_t i = 0; i < kScoreThresholds.size(); ++i) {
    const auto below = [i](const Json& values) {
      return values.at("all").at("below").at(i).get<double>();
    };
    Claim claim;
    claim.what = "Softmax scores below " + format_fixed(kScoreThresholds[i], 2);
    claim.published = "over " + format_fixed(100 * published[i], 0) + " % (Qwen2-0.5B)";
    claim.source = "Section 2";
    claim.measured = first_and_last(findings, below);
    if (below(shortest) <= published[i]) {
      claim.remark = "a few tokens hold more of the mass, or the context is shorter; unexplained";
    }
    all.push_back(std::move(claim));
  }
  const auto outside = [](const Json& values) { return 1 - needed_by(values.at("all")); };
  Claim claim;
  claim.what = "Unimportant tokens (here: those without which 95 % of the mass remain)";
  claim.published =
      "over " + format_fixed(100 * published::kUnimportantTokens, 0) + " % (Qwen2-1.5B)";
  claim.source = "Section 2";
  claim.measured = first_and_last(findings, outside);
  if (outside(shortest) <= published::kUnimportantTokens) claim.remark = flatness_remark(shortest);
  all.push_back(std::move(claim));
  return all;
}

eval::Section overview(const Findings& findings) {
  eval::Section section;
  section.heading = "Scores by length of context";
  section.note =
      "Means over rows of all heads. The thresholds of the paper mean less the longer the context: "
      "n equal scores are all below 0.01 once n is above 100. The other columns do not have that "
      "flaw: what share of the tokens holds 90, 95 and 99 % of a row's mass, and what mass the 5, "
      "10 and 20 % of the tokens with the largest scores hold.";
  section.grid.header = {"tokens",          "scores < 0.01", "scores < 0.03",
                         "tokens for 90 %", "for 95 %",      "for 99 %",
                         "mass of top 5 %", "top 10 %",      "top 20 %"};
  for (const auto& [id, finding] : findings) {
    const Json& figures = finding.values.at("all");
    std::vector<std::string> row = {length_text(finding.values)};
    for (const char* key : {"below", "tokens_needed", "mass_of_top"}) {
      for (const Json& value : figures.at(key)) row.push_back(format_percent(value));
    }
    section.grid.rows.push_back(std::move(row));
  }
  return section;
}

eval::PlotLine curve_of(const std::string& label, const Json& shares, const Json& figures) {
  eval::PlotLine line{label, {}, {}};
  for (size_t i = 0; i < shares.size(); ++i) {
    line.x.push_back(100 * shares.at(i).get<double>());
    line.y.push_back(100 * figures.at("curve").at(i).get<double>());
  }
  return line;
}

eval::Section curves(const Findings& findings) {
  eval::Section section;
  section.heading = "Mass of the tokens with the largest scores";
  section.note =
      "Mean over rows of all heads by length; flattest and most concentrated head of "
      "the longest context.";
  std::vector<eval::PlotLine> lines;
  for (const auto& [id, finding] : findings) {
    lines.push_back(curve_of(length_text(finding.values) + " tokens",
                             finding.values.at("curve_shares"), finding.values.at("all")));
  }
  const Json& longest = findings.back().second.values;
  const Json& heads = longest.at("heads");
  const auto flatter = [](const Json& a, const Json& b) { return needed_by(a) < needed_by(b); };
  const auto [sharp, flat] = std::minmax_element(heads.begin(), heads.end(), flatter);
  if (sharp != heads.end()) {
    lines.push_back(curve_of("most concentrated head", longest.at("curve_shares"), *sharp));
    lines.push_back(curve_of("flattest head", longest.at("curve_shares"), *flat));
  }
  section.picture = eval::line_plot("largest scores, % of the tokens", "mass, %", lines);
  section.page_only = true;
  return section;
}

eval::Section head_map(const Json& values) {
  eval::HeatMap map;
  map.row_title = "layer";
  map.column_title = "query head";
  map.high = 100;
  map.decimals = 1;
  for (const Json& head : values.at("heads")) {
    const std::string layer = std::to_string(head.at("layer").get<int>());
    if (map.rows.empty() || map.rows.back() != layer) {
      map.rows.push_back(layer);
      map.values.emplace_back();
    }
    map.values.back().push_back(100 * needed_by(head));
    if (map.columns.size() < map.values.back().size()) {
      map.columns.push_back(std::to_string(head.at("head").get<int64_t>()));
    }
  }
  eval::Section section;
  section.heading = "Tokens that hold 95 % of the mass, % of the tokens seen";
  section.note = windows_text(values.at("windows")) + ".";
  section.picture = eval::heat_map(map);
  section.page_only = true;
  return section;
}

Chapter write(const Findings& findings) {
  if (findings.empty()) return {};
  return {claims(findings),
          {overview(findings), curves(findings), head_map(findings.back().second.values)}};
}

}  // namespace

Experiment concentration_experiment() {
  return {"concentration",
          "Importance is concentrated",
          "Section 2",
          "Exact attention is recorded while the model reads windows of the text, and the softmax "
          "scores of sampled rows are computed again in double precision. The paper shows two "
          "random heads of Qwen2-0.5B on 128 samples of WikiText-2; here it is every head of all "
          "layers, or of eight, evenly spread, of models with more, and contexts up to the longest "
          "that model and text allow.",
          parts,
          write};
}

}  // namespace shadowattn::tool::paper
