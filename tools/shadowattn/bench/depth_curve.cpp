#include "bench/depth_curve.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "common/svg.h"
#include "common/text.h"

namespace shadowattn::tool {
namespace {

using svg::axis_marks;
using svg::kLetter;
using svg::line_between;
using svg::px;
using svg::text_at;

// All in pixels.
constexpr double kPanelWidth = 460;
constexpr double kPlotHeight = 300;
constexpr double kLeft = 70;  // of a panel's frame, for the numbers
constexpr double kRight = 28;
constexpr double kLegendTop = 56;
constexpr double kLegendLine = 20;
constexpr double kBottom = 56;
constexpr double kMarkGap = 34;  // between numbers under the axis
constexpr int kMostMarks = 6;

// Okabe and Ito's colours, which colour-blind people can tell apart.
constexpr std::array<const char*, 7> kColours = {"#000000", "#0072B2", "#D55E00", "#009E73",
                                                 "#CC79A7", "#E69F00", "#56B4E9"};
constexpr std::array<const char*, 3> kDashes = {"none", "7 4", "2 3"};

// The n-th look: colour first, then dashes.
std::string stroke(size_t n) {
  return std::string("stroke=\"") + kColours[n % kColours.size()] + "\" stroke-width=\"2\" " +
         "stroke-dasharray=\"" + kDashes[(n / kColours.size()) % kDashes.size()] + "\"";
}

std::string dot(double x, double y, size_t n) {
  return "<circle cx=\"" + px(x) + "\" cy=\"" + px(y) + "\" r=\"3.5\" fill=\"" +
         kColours[n % kColours.size()] + "\"/>\n";
}

std::vector<std::string> labels_of(const std::vector<CurvePanel>& panels) {
  std::vector<std::string> labels;
  for (const CurvePanel& panel : panels) {
    for (const CurveLine& line : panel.lines) {
      if (std::find(labels.begin(), labels.end(), line.label) == labels.end()) {
        labels.push_back(line.label);
      }
    }
  }
  return labels;
}

struct Legend {
  std::string svg;
  double bottom = kLegendTop;
};

Legend legend(const std::vector<std::string>& labels, double width) {
  constexpr double kSample = 26;
  constexpr double kGap = 24;
  Legend result;
  double x = kLeft;
  for (size_t i = 0; i < labels.size(); ++i) {
    const double needed = kSample + 6 + kLetter * static_cast<double>(display_width(labels[i]));
    if (x > kLeft && x + needed > width - kRight) {
      x = kLeft;
      result.bottom += kLegendLine;
    }
    const double y = result.bottom;
    result.svg += line_between(x, y, x + kSample, y, stroke(i)) + dot(x + kSample / 2, y, i) +
                  text_at(x + kSample + 6, y + 4, "start", labels[i]);
    x += needed + kGap;
  }
  return result;
}

// Draws one panel whose plot has its upper left corner at (left, top).
class PanelPicture {
 public:
  PanelPicture(const CurvePanel& panel, double left, double top, std::vector<std::string> labels)
      : panel_(panel), left_(left), top_(top), labels_(std::move(labels)) {
    double highest = 0;
    for (const CurveLine& line : panel.lines) {
      for (const CurvePoint& point : line.points) {
        depths_.push_back(point.depth);
        highest = std::max(highest, point.rate);
      }
    }
    std::sort(depths_.begin(), depths_.end());
    depths_.erase(std::unique(depths_.begin(), depths_.end()), depths_.end());
    marks_ = axis_marks(highest, kMostMarks);
  }

  std::string svg() const { return axes() + lines(); }

 private:
  double width() const { return kPanelWidth - kLeft - kRight; }
  double x(double depth) const {
    const double deepest = depths_.empty() ? 0 : depths_.back();
    return left_ + (deepest > 0 ? width() * depth / deepest : width() / 2);
  }
  double y(double rate) const { return top_ + kPlotHeight * (1 - rate / marks_.back()); }

  std::string axes() const {
    const std::string grid = "stroke=\"#dddddd\"";
    const double bottom = top_ + kPlotHeight;
    const int decimals = marks_.back() < 5 ? 1 : 0;
    std::string svg =
        text_at(left_ + width() / 2, top_ - 12, "middle", panel_.title, " font-weight=\"bold\"");
    for (const double mark : marks_) {
      svg += line_between(left_, y(mark), left_ + width(), y(mark), grid);
      svg +=
          text_at(left_ - 8, y(mark) + 4, "end",
                  decimals > 0 ? format_fixed(mark, decimals) : format_count(std::llround(mark)));
    }
    double last = -kPanelWidth;
    for (const double depth : depths_) {
      svg += line_between(x(depth), bottom, x(depth), bottom + 5, "stroke=\"#333333\"");
      if (x(depth) - last < kMarkGap) continue;
      last = x(depth);
      svg += text_at(last, bottom + 19, "middle", std::to_string(std::llround(depth)));
    }
    svg += line_between(left_, bottom, left_ + width(), bottom, "stroke=\"#333333\"");
    svg += line_between(left_, top_, left_, bottom, "stroke=\"#333333\"");
    svg += text_at(left_ + width() / 2, bottom + 40, "middle", "depth, tokens before the test");
    return svg + text_at(left_, top_ - 12, "end", "tokens/s");
  }

  std::string lines() const {
    std::string svg;
    for (const CurveLine& line : panel_.lines) {
      const auto look = static_cast<size_t>(std::find(labels_.begin(), labels_.end(), line.label) -
                                            labels_.begin());
      std::string path;
      std::string dots;
      for (const CurvePoint& point : line.points) {
        path += (path.empty() ? "M" : " L") + px(x(point.depth)) + " " + px(y(point.rate));
        dots += dot(x(point.depth), y(point.rate), look);
      }
      if (!path.empty()) svg += "<path d=\"" + path + "\" fill=\"none\" " + stroke(look) + "/>\n";
      svg += dots;
    }
    return svg;
  }

  const CurvePanel& panel_;
  double left_;
  double top_;
  std::vector<std::string> labels_;
  std::vector<double> depths_;
  std::vector<double> marks_;
};

}  // namespace

std::string depth_curve_svg(const std::string& title, const std::vector<CurvePanel>& panels) {
  const std::vector<std::string> labels = labels_of(panels);
  const double width = kPanelWidth * static_cast<double>(std::max<size_t>(panels.size(), 1));
  const Legend key = legend(labels, width);
  const double top = key.bottom + 52;
  const double height = top + kPlotHeight + kBottom;
  std::string body = text_at(kLeft, 28, "start", title, " font-size=\"15\"") + key.svg;
  for (size_t i = 0; i < panels.size(); ++i) {
    body +=
        PanelPicture(panels[i], kPanelWidth * static_cast<double>(i) + kLeft, top, labels).svg();
  }
  return svg::document(width, height, title, body);
}

}  // namespace shadowattn::tool
