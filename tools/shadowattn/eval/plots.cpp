#include "eval/plots.h"

#include <algorithm>
#include <cmath>

#include "common/svg.h"
#include "common/text.h"

namespace shadowattn::tool::eval {
namespace {

using svg::axis_marks;
using svg::kLetter;
using svg::line_between;
using svg::px;
using svg::text_at;

constexpr size_t kColours = 8;  // --s0 … in the page's style
constexpr int kMostMarks = 5;

std::string colour(size_t n) { return "var(--s" + std::to_string(n % kColours) + ")"; }

std::string picture(double width, double height, const std::string& body) {
  return "<svg width=\"" + px(width) + "\" height=\"" + px(height) + "\" viewBox=\"0 0 " +
         px(width) + " " + px(height) + "\" role=\"img\">\n" + body + "</svg>\n";
}

double text_width(const std::string& text) {
  return kLetter * static_cast<double>(display_width(text));
}

double widest(const std::vector<std::string>& texts) {
  double width = 0;
  for (const std::string& text : texts) width = std::max(width, text_width(text));
  return width;
}

// Few enough decimals for the marks of an axis to be told apart.
std::string mark_text(double mark, double highest) {
  if (highest >= 5) return format_count(std::llround(mark));
  const int decimals = static_cast<int>(std::ceil(1 - std::log10(std::max(highest, 1e-9))));
  return format_fixed(mark, std::clamp(decimals, 1, 9));
}

std::string cell(const HeatMap& map, double value, double x, double y, double width,
                 double height) {
  const std::string place = "<rect x=\"" + px(x) + "\" y=\"" + px(y) + "\" width=\"" + px(width) +
                            "\" height=\"" + px(height) + "\" rx=\"2\" ";
  if (!std::isfinite(value)) return place + "class=\"none\"/>\n";
  constexpr double kPale = 0.06;
  constexpr double kStrong = 0.72;  // the figure on top must stay readable
  const double range = map.high > map.low ? map.high - map.low : 1;
  const double share = std::clamp((value - map.low) / range, 0.0, 1.0);
  return place + "class=\"cell\" fill-opacity=\"" +
         format_fixed(kPale + share * (kStrong - kPale), 3) + "\"/>\n" +
         text_at(x + width / 2, y + height / 2 + 4, "middle", format_fixed(value, map.decimals));
}

// Where the lines of a plot lie: from 0 to the last mark on either axis.
class Axes {
 public:
  static constexpr double kLeft = 78, kTop = 30, kWidth = 520, kHeight = 240;

  explicit Axes(const std::vector<PlotLine>& lines) {
    double highest = 0;
    for (const PlotLine& line : lines) {
      for (const double x : line.x) {
        right_ = std::max(right_, x);
        places_.push_back(x);
      }
      for (const double y : line.y) highest = std::isfinite(y) ? std::max(highest, y) : highest;
    }
    marks_ = axis_marks(highest, kMostMarks);
    std::sort(places_.begin(), places_.end());
    places_.erase(std::unique(places_.begin(), places_.end()), places_.end());
  }

  double x(double value) const { return kLeft + (right_ > 0 ? kWidth * value / right_ : 0); }
  double y(double value) const { return kTop + kHeight * (1 - value / marks_.back()); }

  std::string svg(const std::string& x_title, const std::string& y_title) const {
    constexpr double kMarkGap = 40;
    const double bottom = kTop + kHeight;
    std::string body;
    for (const double mark : marks_) {
      body += line_between(kLeft, y(mark), kLeft + kWidth, y(mark), "class=\"rule\"");
      body += text_at(kLeft - 8, y(mark) + 4, "end", mark_text(mark, marks_.back()));
    }
    double last = -kWidth;
    for (const double place : places_) {
      body += line_between(x(place), bottom, x(place), bottom + 5, "class=\"axis\"");
      if (x(place) - last < kMarkGap) continue;
      last = x(place);
      body += text_at(last, bottom + 19, "middle", format_count(std::llround(place)));
    }
    body += line_between(kLeft, bottom, kLeft + kWidth, bottom, "class=\"axis\"");
    body += text_at(kLeft + kWidth / 2, bottom + 38, "middle", x_title, " class=\"faint\"");
    return body + text_at(kLeft, kTop - 12, "start", y_title, " class=\"faint\"");
  }

 private:
  double right_ = 0;
  std::vector<double> places_;
  std::vector<double> marks_;
};

std::string plot_line(const PlotLine& line, size_t number, const Axes& axes) {
  std::string path;
  std::string dots;
  for (size_t i = 0; i < std::min(line.x.size(), line.y.size()); ++i) {
    if (!std::isfinite(line.y[i])) continue;
    const std::string x = px(axes.x(line.x[i]));
    const std::string y = px(axes.y(line.y[i]));
    path += (path.empty() ? "M" : " L") + x + " " + y;
    dots += "<circle cx=\"" + x + "\" cy=\"" + y + "\" r=\"3.5\" style=\"fill:" + colour(number) +
            "\"/>\n";
  }
  if (path.empty()) return "";
  return "<path d=\"" + path +
         "\" fill=\"none\" stroke-width=\"2\" style=\"stroke:" + colour(number) + "\"/>\n" + dots;
}

}  // namespace

std::string heat_map(const HeatMap& map) {
  constexpr double kCellHeight = 24;
  constexpr double kGap = 2;
  const double figure = text_width(format_fixed(map.high, map.decimals)) + 14;
  const double width = std::max({44.0, widest(map.columns) + 8, figure});
  const double left = std::max(widest(map.rows), text_width(map.row_title)) + 12;
  const double top = 42;
  std::string body = text_at(left, 14, "start", map.column_title, " class=\"faint\"") +
                     text_at(0, top - 8, "start", map.row_title, " class=\"faint\"");
  for (size_t column = 0; column < map.columns.size(); ++column) {
    body += text_at(left + (static_cast<double>(column) + 0.5) * width, top - 8, "middle",
                    map.columns[column]);
  }
  for (size_t row = 0; row < std::min(map.rows.size(), map.values.size()); ++row) {
    const double y = top + static_cast<double>(row) * kCellHeight;
    body += text_at(left - 10, y + kCellHeight / 2 + 3, "end", map.rows[row]);
    for (size_t column = 0; column < map.values[row].size(); ++column) {
      body += cell(map, map.values[row][column], left + static_cast<double>(column) * width, y,
                   width - kGap, kCellHeight - kGap);
    }
  }
  const double right = left + static_cast<double>(map.columns.size()) * width;
  return picture(std::max(right, left + text_width(map.column_title)) + 4,
                 top + static_cast<double>(map.rows.size()) * kCellHeight + 4, body);
}

std::string bars(const std::vector<Bar>& all) {
  constexpr double kRow = 26;
  constexpr double kLongest = 380;
  double left = 0;
  double right = 0;
  double largest = 0;
  for (const Bar& bar : all) {
    left = std::max(left, text_width(bar.label) + 12);
    right = std::max(right, text_width(bar.text) + 12);
    if (std::isfinite(bar.value)) largest = std::max(largest, bar.value);
  }
  std::string body;
  for (size_t i = 0; i < all.size(); ++i) {
    const double y = static_cast<double>(i) * kRow + 4;
    const double share =
        largest > 0 && std::isfinite(all[i].value) ? std::max(all[i].value, 0.0) / largest : 0;
    body += text_at(left - 8, y + 14, "end", all[i].label);
    body += "<rect x=\"" + px(left) + "\" y=\"" + px(y) + "\" width=\"" + px(kLongest * share) +
            "\" height=\"18\" rx=\"2\" style=\"fill:" + colour(i) + "\"/>\n";
    body += text_at(left + kLongest * share + 8, y + 14, "start", all[i].text);
  }
  return picture(left + kLongest + right, static_cast<double>(all.size()) * kRow + 8, body);
}

std::string line_plot(const std::string& x_title, const std::string& y_title,
                      const std::vector<PlotLine>& lines) {
  const Axes axes(lines);
  const double legend = Axes::kLeft + Axes::kWidth + 24;
  std::string body = axes.svg(x_title, y_title);
  double right = legend;
  for (size_t i = 0; i < lines.size(); ++i) {
    body += plot_line(lines[i], i, axes);
    const double y = Axes::kTop + 20 * static_cast<double>(i) + 8;
    body += line_between(legend, y, legend + 20, y,
                         "stroke-width=\"3\" style=\"stroke:" + colour(i) + "\"");
    body += text_at(legend + 28, y + 4, "start", lines[i].label);
    right = std::max(right, legend + 28 + text_width(lines[i].label) + 4);
  }
  const double legend_bottom = Axes::kTop + 20 * static_cast<double>(lines.size());
  return picture(right, std::max(Axes::kTop + Axes::kHeight + 48, legend_bottom), body);
}

}  // namespace shadowattn::tool::eval
