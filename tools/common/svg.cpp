#include "common/svg.h"

#include <algorithm>
#include <cmath>

#include "common/text.h"

namespace shadowattn::tool::svg {

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : repair_utf8(one_line(text)).text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      default:
        result += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
  }
  return result;
}

std::string px(double value) { return format_fixed(value, 1); }

std::string text_at(double x, double y, const std::string& anchor, const std::string& text,
                    const std::string& more) {
  return "<text x=\"" + px(x) + "\" y=\"" + px(y) + "\" text-anchor=\"" + anchor + "\"" + more +
         ">" + escaped(text) + "</text>\n";
}

std::string line_between(double x1, double y1, double x2, double y2, const std::string& style) {
  return "<line x1=\"" + px(x1) + "\" y1=\"" + px(y1) + "\" x2=\"" + px(x2) + "\" y2=\"" + px(y2) +
         "\" " + style + "/>\n";
}

std::vector<double> axis_marks(double highest, int most) {
  const double goal = std::max(highest, 1e-9) / most;
  const double power = std::pow(10.0, std::floor(std::log10(goal)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * power >= goal) step = factor * power;
  }
  std::vector<double> marks = {0};
  while (marks.back() < highest || marks.size() < 2) {
    marks.push_back(step * static_cast<double>(marks.size()));
  }
  return marks;
}

std::string document(double width, double height, const std::string& title,
                     const std::string& body) {
  std::string svg = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
  svg += "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + px(width) + "\" height=\"" +
         px(height) + "\" viewBox=\"0 0 " + px(width) + " " + px(height) +
         "\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n";
  svg += "<title>" + escaped(title) + "</title>\n";
  svg += "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  return svg + body + "</svg>\n";
}

}  // namespace shadowattn::tool::svg
