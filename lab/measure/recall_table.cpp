#include "measure/recall_table.h"

#include "common/text.h"

namespace shadowattn::tool::measure {
namespace {

using Json = nlohmann::ordered_json;

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// Percent: mean, first percentile, worst head.
std::string figures_cell(const RowFigures& figures, int decimals) {
  return format_fixed(100 * figures.mean, decimals) + " / " +
         format_fixed(100 * figures.first_percentile, decimals) + " / " +
         format_fixed(100 * figures.worst_head, decimals);
}

std::string line(const std::vector<std::string>& cells) {
  std::string text = "|";
  for (const std::string& cell : cells) text += " " + cell + " |";
  return text + "\n";
}

std::string rule(size_t cells) {
  std::string text = "|---|---|";
  for (size_t i = 2; i < cells; ++i) text += "---:|";
  return text + "\n";
}

std::vector<std::string> head_cells(const RecallOptions& options) {
  std::vector<std::string> cells = {"scales", "keys' mean"};
  for (const double keep : options.keeps) cells.push_back(format_fixed(100 * keep, 0) + " %");
  return cells;
}

std::string mean_cell(const RecallResult& result) {
  return result.center_keys ? "subtracted" : "kept";
}

std::string quality_table(const std::vector<RecallResult>& results, const RecallOptions& options,
                          int decimals,
                          std::vector<std::vector<double>> RecallResult::AtKeep::*values) {
  const std::vector<std::string> head = head_cells(options);
  std::string text = line(head) + rule(head.size());
  for (const RecallResult& result : results) {
    std::vector<std::string> cells = {result.name, mean_cell(result)};
    for (const RecallResult::AtKeep& at : result.keeps) {
      cells.push_back(figures_cell(row_figures(at.*values), decimals));
    }
    text += line(cells);
  }
  return text;
}

std::string counters_table(const std::vector<RecallResult>& results, const RecallOptions& options) {
  std::vector<std::string> head = {"scales", "keys' mean"};
  for (const char* title : {"clipped %", "saturated %"}) head.emplace_back(title);
  for (const double keep : options.keeps) {
    head.push_back("tied % at " + format_fixed(100 * keep, 0) + " %");
  }
  for (const char* title : {"KV heads out of grid", "multipliers"}) head.emplace_back(title);
  std::string text = line(head) + rule(head.size());
  for (const RecallResult& result : results) {
    std::vector<std::string> cells = {
        result.name, mean_cell(result),
        format_fixed(100 * share(result.clipped, result.elements), 3),
        format_fixed(100 * share(result.saturated, result.scores), 3)};
    for (const RecallResult::AtKeep& at : result.keeps) {
      cells.push_back(format_fixed(100 * share(at.tied, at.kept), 1));
    }
    cells.push_back(std::to_string(result.out_of_grid) + " of " + std::to_string(result.heads));
    cells.push_back(std::to_string(result.multipliers.size()));
    text += line(cells);
  }
  return text;
}

Json figures_json(const RowFigures& figures) {
  return {{"mean", figures.mean},
          {"first_percentile", figures.first_percentile},
          {"worst_head", figures.worst_head}};
}

}  // namespace

std::string recall_markdown(const std::vector<RecallResult>& results,
                            const RecallOptions& options) {
  return "Recall of the top-k, %: mean / first percentile of rows / worst head\n\n" +
         quality_table(results, options, 1, &RecallResult::AtKeep::recall) +
         "\nRetained softmax mass, % of what the exact top-k retains: mean / first percentile of "
         "rows / worst head\n\n" +
         quality_table(results, options, 2, &RecallResult::AtKeep::relative_mass) +
         "\nWhat the scales did\n\n" + counters_table(results, options);
}

Json recall_json(const std::vector<RecallResult>& results, const RecallOptions& options) {
  Json all = Json::array();
  for (const RecallResult& result : results) {
    Json one = {{"scales", result.name},
                {"center_keys", result.center_keys},
                {"clipped_share", share(result.clipped, result.elements)},
                {"saturated_share", share(result.saturated, result.scores)},
                {"kv_heads", result.heads},
                {"out_of_grid_heads", result.out_of_grid},
                {"multipliers", result.multipliers.size()},
                {"keeps", Json::array()}};
    for (size_t i = 0; i < result.keeps.size(); ++i) {
      const RecallResult::AtKeep& at = result.keeps[i];
      one["keeps"].push_back({{"keep", options.keeps[i]},
                              {"recall", figures_json(row_figures(at.recall))},
                              {"mass", figures_json(row_figures(at.mass))},
                              {"relative_mass", figures_json(row_figures(at.relative_mass))},
                              {"tied_share", share(at.tied, at.kept)}});
    }
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace shadowattn::tool::measure
