// How far the scales of queries and keys differ, and what static scales make of that (section 3.3
// of the paper).

#include <algorithm>
#include <cmath>

#include "common/failure.h"
#include "common/text.h"
#include "eval/kld_statistics.h"
#include "eval/plots.h"
#include "eval/report_parts.h"
#include "paper/experiments.h"
#include "paper/published.h"
#include "paper/recorded_windows.h"
#include "paper/scale_samples.h"
#include "plan/visibility.h"

namespace shadowattn::tool::paper {
namespace {

// The paper's marks for scales of queries.
constexpr double kLargeScale = 0.2;
constexpr double kSmallScale = 0.1;

using Samples = std::vector<ScaleSample>;
using Pairs = std::vector<measure::ScalePair>;

template <typename Value>
std::vector<double> sorted_values(const Samples& samples, const Value& value) {
  std::vector<double> values;
  for (const ScaleSample& sample : samples) values.push_back(value(sample));
  std::sort(values.begin(), values.end());
  return values;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

double share_above(const std::vector<double>& values, double mark) {
  const auto above =
      std::count_if(values.begin(), values.end(), [&](double x) { return x > mark; });
  return values.empty() ? 0 : static_cast<double>(above) / static_cast<double>(values.size());
}

/// `values` ascending.
Json spread_json(const std::vector<double>& values) {
  Json spread = {{"count", values.size()}, {"mean", mean(values)}};
  for (const auto& [name, share] :
       {std::pair("min", 0.0), std::pair("p5", 0.05), std::pair("p25", 0.25),
        std::pair("median", 0.5), std::pair("p75", 0.75), std::pair("p95", 0.95),
        std::pair("max", 1.0)}) {
    spread[name] = eval::percentile(values, share);
  }
  return spread;
}

double query_of(const ScaleSample& sample) { return sample.needed.query; }
double key_of(const ScaleSample& sample) { return sample.needed.key; }

/// Per head over windows.
Json heads_json(const Samples& samples) {
  std::map<std::pair<int, int64_t>, Samples> by_head;
  for (const ScaleSample& sample : samples) by_head[{sample.layer, sample.head}].push_back(sample);
  Json heads = Json::array();
  for (const auto& [place, some] : by_head) {
    const std::vector<double> queries = sorted_values(some, query_of);
    const std::vector<double> keys = sorted_values(some, key_of);
    heads.push_back(
        {{"layer", place.first},
         {"head", place.second},
         {"query", {{"min", queries.front()}, {"mean", mean(queries)}, {"max", queries.back()}}},
         {"key", {{"min", keys.front()}, {"mean", mean(keys)}, {"max", keys.back()}}}});
  }
  return heads;
}

Json pairs_json(const Samples& samples, const Pairs& pairs) {
  Json chosen = Json::array();
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto count = std::count_if(samples.begin(), samples.end(),
                                     [i](const ScaleSample& sample) { return sample.pair == i; });
    chosen.push_back({{"query", pairs[i].query}, {"key", pairs[i].key}, {"heads", count}});
  }
  const auto clipped =
      std::count_if(samples.begin(), samples.end(),
                    [&](const ScaleSample& sample) { return is_clipped(sample, pairs); });
  const auto of = [&](double ScaleSample::*share) {
    return mean(sorted_values(samples, [share](const ScaleSample& s) { return s.*share; }));
  };
  return {{"chosen", std::move(chosen)},
          {"clipped_heads", static_cast<double>(clipped) / static_cast<double>(samples.size())},
          {"clipped_query_elements", of(&ScaleSample::clipped_queries)},
          {"clipped_key_elements", of(&ScaleSample::clipped_keys)}};
}

Json grid_json(const Samples& samples, float measure::ScalePair::*axis) {
  std::map<float, int64_t> steps;
  for (const ScaleSample& sample : samples) ++steps[sample.grid.*axis];
  Json chosen = Json::array();
  for (const auto& [scale, heads] : steps) chosen.push_back({{"scale", scale}, {"heads", heads}});
  return chosen;
}

Json measure_length(const Workbench& workbench, int64_t length) {
  const RecordedWindows windows(workbench, length, /*calibrate=*/true);
  const measure::ScalePair mean_pair = windows.calibrated_mean();
  const auto pairs = measure::scale_pairs(mean_pair, published::kStep, published::kBuckets);
  if (!pairs.ok()) throw Failure("the calibrated scales: " + pairs.status().message());
  Samples samples;
  windows.for_each_call("scales", [&](const AttentionCall& call) {
    const Visibility visibility(call, windows.executor());
    const Samples some = sample_scales(call, visibility.begin(), visibility.end(), pairs.value());
    samples.insert(samples.end(), some.begin(), some.end());
  });
  const std::vector<double> queries = sorted_values(samples, query_of);
  return {{"windows", to_json(windows.facts())},
          {"calibrated_on_itself", windows.calibrated_on_itself()},
          {"mean_scales", {{"query", mean_pair.query}, {"key", mean_pair.key}}},
          {"query", spread_json(queries)},
          {"query_above_0.2", share_above(queries, kLargeScale)},
          {"query_below_0.1", 1 - share_above(queries, kSmallScale)},
          {"key", spread_json(sorted_values(samples, key_of))},
          {"pairs", pairs_json(samples, pairs.value())},
          {"grid",
           {{"query", grid_json(samples, &measure::ScalePair::query)},
            {"key", grid_json(samples, &measure::ScalePair::key)}}},
          {"heads", heads_json(samples)}};
}

std::vector<Part> parts(const Workbench& workbench) {
  std::vector<Part> all;
  for (const int64_t length : workbench.lengths()) {
    const double seconds = 0.2 + static_cast<double>(length) / 6500;
    all.push_back({std::to_string(length), format_count(length) + " tokens", seconds,
                   [length](const Workbench& bench) { return measure_length(bench, length); }});
  }
  return all;
}

std::string length_text(const Json& values) {
  return format_count(values.at("windows").at("length").get<int64_t>());
}

std::string scale_text(double scale) {
  if (!(scale > 0)) return "none";
  const int decimals = std::clamp(2 - static_cast<int>(std::floor(std::log10(scale))), 0, 9);
  return format_fixed(scale, decimals);
}

double ratio_of(const Json& spread, const char* low, const char* high) {
  const double least = spread.at(low);
  return least > 0 ? spread.at(high).get<double>() / least : 0;
}

std::vector<Claim> claims(const Json& values) {
  const double above = values.at("query_above_0.2");
  const double below = values.at("query_below_0.1");
  Claim claim;
  claim.what = "Scales of queries above 0.2, and below 0.1";
  claim.published = "over " + format_fixed(100 * published::kLargeQueryScales, 0) + " % and " +
                    format_fixed(100 * published::kSmallQueryScales, 0) + " % (Qwen2-0.5B)";
  claim.source = "Section 3.3";
  claim.measured = format_percent(above) + " and " + format_percent(below) + " at " +
                   length_text(values) + " tokens";
  if (above > published::kLargeQueryScales && below >= published::kSmallQueryScales) return {claim};
  // Where they lie is the model's; that no single scale fits is what the paper says with them.
  const Json& query = values.at("query");
  claim.remark = "these weights have other scales; how far they differ here: by a factor of " +
                 format_fixed(ratio_of(query, "min", "max"), 1) + ", 95th to 5th percentile " +
                 format_fixed(ratio_of(query, "p5", "p95"), 1);
  return {claim};
}

/// How far a head's scale goes from window to window: the largest over the smallest, mean of heads.
double ratio_over_windows(const Json& values, const char* operand) {
  double sum = 0;
  for (const Json& head : values.at("heads")) sum += ratio_of(head.at(operand), "min", "max");
  return sum / static_cast<double>(std::max<size_t>(values.at("heads").size(), 1));
}

eval::Section spread_section(const Findings& findings) {
  eval::Section section;
  section.heading = "Scales that heads need";
  section.note =
      "Largest magnitude / 127, of the queries of a head in the last up to 512 rows of a window, "
      "and "
      "of the keys of its KV head in the whole window; one value per query head and window. Last "
      "column: of one head over "
      "windows, mean of all heads.";
  section.grid.header = {"operand",
                         "tokens",
                         "values",
                         "min",
                         "5 %",
                         "median",
                         "mean",
                         "95 %",
                         "max",
                         "max / min",
                         "one head, max / min"};
  for (const auto& [id, finding] : findings) {
    for (const char* operand : {"query", "key"}) {
      const Json& spread = finding.values.at(operand);
      std::vector<std::string> row = {operand, length_text(finding.values),
                                      std::to_string(spread.at("count").get<size_t>())};
      for (const char* name : {"min", "p5", "median", "mean", "p95", "max"}) {
        row.push_back(scale_text(spread.at(name)));
      }
      row.push_back(format_fixed(ratio_of(spread, "min", "max"), 1));
      row.push_back(format_fixed(ratio_over_windows(finding.values, operand), 2));
      section.grid.rows.push_back(std::move(row));
    }
  }
  return section;
}

eval::Section pairs_section(const Json& values) {
  eval::Section section;
  section.heading = "Pairs of scales chosen, published rule, " + length_text(values) + " tokens";
  const Json& pairs = values.at("pairs");
  const std::string where = calibration_text(values.at("calibrated_on_itself"));
  section.note = "Nearest of nine pairs {1/2, 1, 2} around the mean over " + where + ". For " +
                 format_percent(pairs.at("clipped_heads")) +
                 " of the heads and windows the pair is too small for the largest query or key; " +
                 eval::fine_percent(pairs.at("clipped_query_elements")) + " of the elements of " +
                 "queries and " + eval::fine_percent(pairs.at("clipped_key_elements")) +
                 " of those of keys are cut off.";
  section.grid.header = {"query scale", "key scale", "heads and windows"};
  for (const Json& pair : pairs.at("chosen")) {
    section.grid.rows.push_back({scale_text(pair.at("query")), scale_text(pair.at("key")),
                                 std::to_string(pair.at("heads").get<int64_t>())});
  }
  return section;
}

eval::Section grid_section(const Json& values) {
  eval::Section section;
  section.heading = "Scales chosen from our grid, " + length_text(values) + " tokens";
  section.note =
      "The default for devices: steps of the square root of 2, the smallest that at most 0.1 % of "
      "the rows exceed, keys without their mean. Queries have a scale per row by default; theirs "
      "here are what one scale per head would be.";
  std::map<float, std::pair<int64_t, int64_t>> steps;
  for (const Json& step : values.at("grid").at("query")) {
    steps[step.at("scale").get<float>()].first = step.at("heads");
  }
  for (const Json& step : values.at("grid").at("key")) {
    steps[step.at("scale").get<float>()].second = step.at("heads");
  }
  section.grid.header = {"scale", "for queries", "for keys"};
  for (const auto& [scale, heads] : steps) {
    section.grid.rows.push_back(
        {scale_text(double{scale}), std::to_string(heads.first), std::to_string(heads.second)});
  }
  return section;
}

eval::Section head_map(const Json& values, const char* operand, const std::string& name) {
  eval::HeatMap map;
  map.row_title = "layer";
  map.column_title = "query head";
  map.decimals = 3;
  map.high = values.at(operand).at("max");
  for (const Json& head : values.at("heads")) {
    const std::string layer = std::to_string(head.at("layer").get<int>());
    if (map.rows.empty() || map.rows.back() != layer) {
      map.rows.push_back(layer);
      map.values.emplace_back();
    }
    map.values.back().push_back(head.at(operand).at("mean"));
    if (map.columns.size() < map.values.back().size()) {
      map.columns.push_back(std::to_string(head.at("head").get<int64_t>()));
    }
  }
  eval::Section section;
  section.heading = "Scales of " + name + " by head, " + length_text(values) + " tokens";
  section.note = "Mean over windows.";
  section.picture = eval::heat_map(map);
  section.page_only = true;
  return section;
}

Chapter write(const Findings& findings) {
  if (findings.empty()) return {};
  const Json& longest = findings.back().second.values;
  return {claims(findings.front().second.values),
          {spread_section(findings), pairs_section(longest), grid_section(longest),
           head_map(longest, "query", "queries"), head_map(longest, "key", "keys")}};
}

}  // namespace

Experiment scales_experiment() {
  return {
      "scales",
      "Scales of queries and keys differ",
      "Section 3.3",
      "The scale of a head is what its largest element needs to fit 127. It is measured per "
      "head and window, for queries over a chunk of the prompt, for keys over all of it, as the "
      "published code does.",
      parts,
      write};
}

}  // namespace shadowattn::tool::paper
