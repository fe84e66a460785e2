// The picture: axes that hold the data, text that cannot break the XML.
#include "bench/depth_curve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <string>

#include "common/svg.h"

namespace shadowattn::tool {
namespace {

using svg::axis_marks;

size_t occurrences(const std::string& text, const std::string& word) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(word, at)) != std::string::npos; at += word.size()) ++count;
  return count;
}

const std::vector<CurvePanel> kPanels = {
    {"prefill, pp512",
     {{"llama.cpp", {{0, 100}, {1024, 50}}}, {"shadow 0.2", {{0, 120}, {1024, 90}}}}},
    {"decode, tg32", {{"llama.cpp", {{0, 30}, {1024, 20}}}}}};

TEST(AxisMarks, AreRoundAndReachTheHighest) {
  EXPECT_EQ(axis_marks(9, 6), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(axis_marks(10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(axis_marks(26'000, 6),
            (std::vector<double>{0, 5000, 10'000, 15'000, 20'000, 25'000, 30'000}));
  for (const double highest : {0.0, 0.003, 0.7, 1.0, 59.9, 101.0, 7e9}) {
    const std::vector<double> marks = axis_marks(highest, 6);
    EXPECT_GE(marks.back(), highest);
    EXPECT_GE(marks.size(), 2U);
    EXPECT_LE(marks.size(), 8U);
    EXPECT_TRUE(std::is_sorted(marks.begin(), marks.end()));
  }
}

TEST(DepthCurve, DrawsEveryPointAndNamesEveryLineOnce) {
  const std::string svg = depth_curve_svg("model", kPanels);
  EXPECT_EQ(occurrences(svg, "<path "), 3U);
  EXPECT_EQ(occurrences(svg, "<circle "), 6U + 2U);  // two in the legend
  EXPECT_EQ(occurrences(svg, ">llama.cpp<"), 1U);
  EXPECT_EQ(occurrences(svg, ">prefill, pp512<"), 1U);
  EXPECT_EQ(occurrences(svg, ">tokens/s<"), 2U);
  EXPECT_EQ(occurrences(svg, ">1024<"), 2U);
}

TEST(DepthCurve, FasterIsHigher) {
  const std::string svg = depth_curve_svg("model", {{"prefill", {{"a", {{0, 100}, {10, 50}}}}}});
  std::smatch match;
  const std::regex path("<path d=\"M([0-9.]+) ([0-9.]+) L([0-9.]+) ([0-9.]+)\"");
  ASSERT_TRUE(std::regex_search(svg, match, path));
  EXPECT_LT(std::stod(match[1]), std::stod(match[3]));
  EXPECT_LT(std::stod(match[2]), std::stod(match[4]));
}

TEST(DepthCurve, TakesAnyTextAndOddData) {
  const std::string svg =
      depth_curve_svg("a<b>&\"c\"\x01\xFF", {{"]]>", {{"<&>", {{0, 0}}}}}, {"nothing", {}}});
  EXPECT_NE(svg.find("a&lt;b&gt;&amp;"), std::string::npos);
  EXPECT_EQ(svg.find('\x01'), std::string::npos);
  EXPECT_EQ(svg.find('\xFF'), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
  EXPECT_NE(depth_curve_svg("", {}).find("</svg>"), std::string::npos);
}

}  // namespace
}  // namespace shadowattn::tool
