// Pictures for the page of an evaluation, as SVG that takes its colours from the page.
#pragma once

#include <string>
#include <vector>

namespace shadowattn::tool::eval {

struct HeatMap {
  std::string row_title;     ///< what rows are
  std::string column_title;  ///< what columns are
  std::vector<std::string> rows;
  std::vector<std::string> columns;
  std::vector<std::vector<double>> values;  ///< [row][column]; not finite: nothing there
  double low = 0;                           ///< shown pale; values are clipped to low … high
  double high = 1;                          ///< shown strong
  int decimals = 2;
};
std::string heat_map(const HeatMap& map);

struct Bar {
  std::string label;
  double value = 0;  ///< not finite: no bar
  std::string text;  ///< shown beside it
};
/// From 0 to the largest value, one below the other.
std::string bars(const std::vector<Bar>& all);

struct PlotLine {
  std::string label;
  std::vector<double> x;  ///< above 0
  std::vector<double> y;  ///< as many; not finite: no point
};
/// Both axes from 0. `x_title` and `y_title` name the axes.
std::string line_plot(const std::string& x_title, const std::string& y_title,
                      const std::vector<PlotLine>& lines);

}  // namespace shadowattn::tool::eval
