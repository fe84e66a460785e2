#include "mass_table.h"

#include "common/text.h"
#include "measure/recall_score.h"

namespace shadowattn::bench {
namespace {

using tool::measure::row_figures;
using tool::measure::RowFigures;
using Json = nlohmann::ordered_json;
using Values = std::vector<std::vector<double>> MassResult::AtKeep::*;
using tool::format_fixed;

std::string lists_name(const ListShape& lists) {
  const std::string rows =
      std::to_string(lists.rows_per_list) + (lists.rows_per_list == 1 ? " row" : " rows");
  return rows + (lists.share_heads ? ", heads together" : "");
}

std::string line(const std::vector<std::string>& cells) {
  std::string text = "|";
  for (const std::string& cell : cells) text += " " + cell + " |";
  return text + "\n";
}

/// Of losses: mean, 99th percentile, worst head.
RowFigures loss_figures(std::vector<std::vector<double>> values) {
  for (auto& head : values) {
    for (double& x : head) x = -x;
  }
  const RowFigures figures = row_figures(values);
  return {0 - figures.mean, 0 - figures.first_percentile, 0 - figures.worst_head};  // no -0
}

RowFigures figures_of(const MassResult::AtKeep& at, Values values) {
  return values == &MassResult::AtKeep::gap ? loss_figures(at.*values) : row_figures(at.*values);
}

std::string table(const std::vector<MassResult>& results, const MassOptions& options,
                  Values values) {
  std::vector<std::string> head = {"scores", "list"};
  std::string rule = "|---|---|";
  for (const double keep : options.keeps) {
    head.push_back(format_fixed(100 * keep, 0) + " %");
    rule += "---:|";
  }
  std::string text = line(head) + rule + "\n";
  for (const MassResult& result : results) {
    std::vector<std::string> cells = {result.variant.name(), lists_name(result.lists)};
    for (const MassResult::AtKeep& at : result.keeps) {
      const RowFigures figures = figures_of(at, values);
      const int decimals = values == &MassResult::AtKeep::gap ? 3 : 2;
      std::string cell;
      for (const double x : {figures.mean, figures.first_percentile, figures.worst_head}) {
        cell += (cell.empty() ? "" : " / ") + format_fixed(100 * x, decimals);
      }
      cells.push_back(cell);
    }
    text += line(cells);
  }
  return text;
}

Json figures_json(const RowFigures& figures, const char* percentile) {
  return {{"mean", figures.mean},
          {percentile, figures.first_percentile},
          {"worst_head", figures.worst_head}};
}

}  // namespace

std::string mass_markdown(const std::vector<MassResult>& results, const MassOptions& options) {
  return "Retained softmax mass, %: mean / first percentile of rows / worst head\n\n" +
         table(results, options, &MassResult::AtKeep::mass) +
         "\nOracle gap, points: mean / 99th percentile of rows / worst head\n\n" +
         table(results, options, &MassResult::AtKeep::gap) +
         "\nRecall, %: mean / first percentile of rows / worst head\n\n" +
         table(results, options, &MassResult::AtKeep::recall);
}

Json mass_json(const std::vector<MassResult>& results, const MassOptions& options) {
  Json all = Json::array();
  for (const MassResult& result : results) {
    Json one = {{"scores", result.variant.name()},
                {"rows_per_list", result.lists.rows_per_list},
                {"share_heads", result.lists.share_heads},
                {"keeps", Json::array()}};
    for (size_t i = 0; i < result.keeps.size(); ++i) {
      const MassResult::AtKeep& at = result.keeps[i];
      one["keeps"].push_back(
          {{"keep", options.keeps[i]},
           {"mass", figures_json(figures_of(at, &MassResult::AtKeep::mass), "first_percentile")},
           {"oracle_gap", figures_json(figures_of(at, &MassResult::AtKeep::gap), "percentile_99")},
           {"recall",
            figures_json(figures_of(at, &MassResult::AtKeep::recall), "first_percentile")}});
    }
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace shadowattn::bench
