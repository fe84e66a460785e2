#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "common/text.h"
#include "eval/plots.h"
#include "eval/report_parts.h"

namespace shadowattn::tool::eval {
namespace {

using Json = nlohmann::ordered_json;
using Heads = std::map<ListQualities::Head, ListQuality>;

// "attn_error 0.01, lists 8xgroup"
std::string name_of(const RecallAtSetting& at) {
  return setting_text(at.setting) + ", lists " + granularity_text(at.granularity);
}

// Of `rows` rows; "-" where nothing was sampled.
std::string shares(const Spread& spread, int64_t rows) {
  if (rows == 0) return "-";
  return format_fixed(100 * spread.mean, 2) + " / " + format_fixed(100 * spread.tail, 2) + " / " +
         format_fixed(100 * spread.worst, 2);
}

Grid overview(const std::vector<RecallAtSetting>& results) {
  Grid grid;
  grid.header = {"method", "setting",  "lists",  "kept %",       "oracle keeps %",
                 "ratio",  "recall %", "mass %", "oracle gap %", "output error %"};
  for (const RecallAtSetting& at : results) {
    for (const RecallMethod& method : at.methods) {
      const ListQuality quality = method.qualities.all();
      grid.rows.push_back(
          {method.method.name, setting_text(at.setting), granularity_text(at.granularity),
           format_fixed(100 * quality.kept, 1), format_fixed(100 * quality.oracle_kept, 1),
           format_fixed(quality.kept_over_oracle(), 2), shares(quality.recall, quality.rows),
           shares(quality.mass, quality.rows), shares(quality.oracle_gap, quality.rows),
           shares(quality.output_error, 1)});
    }
  }
  return grid;
}

const RecallMethod& headline(const RecallAtSetting& at) {
  for (const RecallMethod& method : at.methods) {
    if (method.method.name == kHeadline) return method;
  }
  return at.methods.front();
}

Grid head_grid(const Heads& heads) {
  Grid grid;
  grid.header = {"layer",    "head",   "kept %",       "oracle keeps %", "ratio",
                 "recall %", "mass %", "oracle gap %", "output error %"};
  for (const auto& [head, quality] : heads) {
    grid.rows.push_back(
        {std::to_string(head.first), std::to_string(head.second),
         format_fixed(100 * quality.kept, 1), format_fixed(100 * quality.oracle_kept, 1),
         format_fixed(quality.kept_over_oracle(), 2), shares(quality.recall, quality.rows),
         shares(quality.mass, quality.rows), shares(quality.oracle_gap, quality.rows),
         shares(quality.output_error, 1)});
  }
  return grid;
}

// Layers from top to bottom, heads from left to right.
template <typename Value>
std::string layer_map(const std::string& what, const Heads& heads, double low, double high,
                      const Value& value) {
  constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();
  HeatMap map;
  map.row_title = "layer";
  map.column_title = "head; cells: " + what;
  map.low = low;
  map.high = high;
  map.decimals = 1;
  int columns = 0;
  for (const auto& [head, quality] : heads) columns = std::max(columns, head.second + 1);
  for (int i = 0; i < columns; ++i) map.columns.push_back(std::to_string(i));
  int last = -1;
  for (const auto& [head, quality] : heads) {
    if (head.first != last) {
      map.rows.push_back(std::to_string(head.first));
      map.values.emplace_back(static_cast<size_t>(columns), kNothing);
      last = head.first;
    }
    map.values.back()[static_cast<size_t>(head.second)] = value(quality);
  }
  return heat_map(map);
}

void add_maps(const RecallAtSetting& at, const Heads& heads, Page& page) {
  const auto add = [&](const std::string& heading, std::string picture) {
    Section section;
    section.heading = heading + ", shadow, " + name_of(at);
    section.picture = std::move(picture);
    section.page_only = true;
    page.sections.push_back(std::move(section));
  };
  add("Mass lost", layer_map("mean share of softmax mass, %", heads, 0, 10,
                             [](const ListQuality& q) { return 100 * (1 - q.mass.mean); }));
  add("Tokens kept", layer_map("share of the visible tokens, %", heads, 0, 100,
                               [](const ListQuality& q) { return 100 * q.kept; }));
  add("Recall", layer_map("share of the best tokens that are in the list, %", heads, 0, 100,
                          [](const ListQuality& q) { return 100 * q.recall.mean; }));
  add("Output error", layer_map("mean relative error, %", heads, 0, 20,
                                [](const ListQuality& q) { return 100 * q.output_error.mean; }));
}

// The granularity where there are several of the method.
std::string line_label(const std::vector<RecallAtSetting>& results, const RecallAtSetting& at,
                       const RecallMethod& method) {
  const bool one = std::all_of(results.begin(), results.end(), [&](const RecallAtSetting& other) {
    return other.granularity == results.front().granularity;
  });
  if (one || method.method.name != kHeadline) return method.method.name;
  return method.method.name + ", " + granularity_text(at.granularity);
}

// Mass over kept share, a line per method and granularity: lower at the same share is better.
Section mass_plot(const std::vector<RecallAtSetting>& results) {
  std::map<std::string, std::vector<std::pair<double, double>>> points;
  std::vector<std::string> labels;  // in the order of the table
  for (const RecallAtSetting& at : results) {
    for (const RecallMethod& method : at.methods) {
      const std::string label = line_label(results, at, method);
      const ListQuality quality = method.qualities.all();
      if (points[label].empty()) labels.push_back(label);
      points[label].emplace_back(100 * quality.kept, 100 * (1 - quality.mass.mean));
    }
  }
  std::vector<PlotLine> lines;
  for (const std::string& label : labels) {
    std::sort(points[label].begin(), points[label].end());
    lines.push_back({label, {}, {}});
    for (const auto& [kept, lost] : points[label]) {
      lines.back().x.push_back(kept);
      lines.back().y.push_back(lost);
    }
  }
  Section section;
  section.heading = "Mass lost by tokens kept";
  section.note = "Lower is better; the oracle knows every row's best tokens.";
  section.picture = line_plot("tokens kept, %", "mean mass lost, %", lines);
  section.page_only = true;
  return section;
}

// Null where nothing was sampled.
Json figure(double value, int64_t rows) { return rows == 0 ? Json(nullptr) : Json(value); }

Json spread_json(const Spread& spread, const char* tail, int64_t rows) {
  if (rows == 0) return nullptr;
  return {{"mean", spread.mean}, {tail, spread.tail}, {"worst", spread.worst}};
}

Json quality_json(const ListQuality& quality) {
  return {{"rows", quality.rows},
          {"kept", quality.kept},
          {"oracle_kept", quality.oracle_kept},
          {"kept_over_oracle", quality.kept_over_oracle()},
          {"recall", spread_json(quality.recall, "p1", quality.rows)},
          {"mass", spread_json(quality.mass, "p1", quality.rows)},
          {"estimated_mass_mean", figure(quality.estimated_mass, quality.rows)},
          {"oracle_gap", spread_json(quality.oracle_gap, "p99", quality.rows)},
          {"output_error", spread_json(quality.output_error, "p99", 1)}};
}

Json method_json(const RecallMethod& method) {
  Json json = {{"name", method.method.name}};
  const Json all = quality_json(method.qualities.all());
  json.update(all);
  json["heads"] = Json::array();
  for (const auto& [head, quality] : method.qualities.heads()) {
    Json one = {{"layer", head.first}, {"head", head.second}};
    const Json figures = quality_json(quality);
    one.update(figures);
    json["heads"].push_back(std::move(one));
  }
  return json;
}

Json recall_json(const EvalFacts& facts, const std::vector<RecallAtSetting>& results) {
  Json json = start_json(facts);
  const ListQuality quality = headline(results.front()).qualities.all();
  json["kept"] = quality.kept;
  json["mass_mean"] = figure(quality.mass.mean, quality.rows);
  json["mass_p1"] = figure(quality.mass.tail, quality.rows);
  json["recall_mean"] = figure(quality.recall.mean, quality.rows);
  json["recall_p1"] = figure(quality.recall.tail, quality.rows);
  json["settings"] = Json::array();
  for (const RecallAtSetting& at : results) {
    Json setting = {{"attn_error", at.setting.attn_error},
                    {"keep", at.setting.keep},
                    {"granularity", granularity_text(at.granularity)}};
    setting["methods"] = Json::array();
    for (const RecallMethod& method : at.methods) setting["methods"].push_back(method_json(method));
    json["settings"].push_back(std::move(setting));
  }
  return json;
}

}  // namespace

Report recall_report(const EvalFacts& facts, const std::vector<RecallAtSetting>& results) {
  Report report;
  report.page = start_page("Recall and retained mass of token lists", facts);
  report.page.sections.push_back(
      {"",
       "Mean / first percentile / worst over rows and heads (99th percentile where less is "
       "better). Ratio: kept, over what an oracle needs for the same mass, row by row. Lists: "
       "rows x query heads that share one; group: all heads of a KV head.",
       overview(results)});
  report.page.sections.push_back(mass_plot(results));
  const RecallAtSetting& first = results.front();
  const Heads heads = headline(first).qualities.heads();
  add_maps(first, heads, report.page);
  report.page.sections.push_back(
      {"By layer and head: shadow, " + name_of(first), "", head_grid(heads)});
  report.json = recall_json(facts, results);
  return report;
}

}  // namespace shadowattn::tool::eval
