// What `shadowattn eval` shows: tables, pictures and a page that no text can break.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>

#include "common/failure.h"
#include "eval/methods.h"
#include "eval/page.h"
#include "eval/plots.h"
#include "eval/recall_statistics.h"
#include "eval/settings.h"
#include "shadowattn/profile.h"

namespace shadowattn::tool::eval {
namespace {

size_t occurrences(const std::string& text, const std::string& word) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(word, at)) != std::string::npos; at += word.size()) ++count;
  return count;
}

const std::string kHostile = "</td><script>alert(\"x\")</script>&\x01\xFF";

TEST(Page, TextsCannotBreakTheHtml) {
  const Page page = {kHostile, {kHostile}, {{kHostile, kHostile, {{kHostile}, {{kHostile}}}}}};
  const std::string html = to_html(page);
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find('\x01'), std::string::npos);
  EXPECT_EQ(html.find('\xFF'), std::string::npos);
  EXPECT_EQ(occurrences(html, "&lt;script&gt;"), 7U);  // title twice
  EXPECT_EQ(occurrences(html, "<td>"), 1U);
  EXPECT_EQ(html.find("http"), std::string::npos);  // nothing from elsewhere
  EXPECT_NE(html.find("prefers-color-scheme: dark"), std::string::npos);
}

TEST(Page, TextLeavesOutWhatIsForThePageOnly) {
  Section hidden;
  hidden.heading = "picture";
  hidden.page_only = true;
  const Page page = {"title", {"fact"}, {{"shown", "note", {{"a"}, {{"1"}}}}, hidden}};
  const std::string text = to_text(page);
  EXPECT_NE(text.find("shown\nnote\n"), std::string::npos);
  EXPECT_EQ(text.find("picture"), std::string::npos);
  EXPECT_NE(to_html(page).find("picture"), std::string::npos);
}

TEST(Page, ChaptersHaveLinksAndPartsHaveNone) {
  Page page;
  page.title = "title";
  page.contents = true;
  page.sections = {{"first", "one\ntwo"}, {"inside", ""}, {"second", ""}};
  page.sections[1].depth = 1;
  const std::string html = to_html(page);
  EXPECT_EQ(occurrences(html, "<a href=\"#"), 2U);
  EXPECT_EQ(occurrences(html, "<h2 id=\""), 2U);
  EXPECT_NE(html.find("<h3>inside</h3>"), std::string::npos);
  EXPECT_NE(html.find("<p>one</p>\n<p>two</p>"), std::string::npos);
}

TEST(Markdown, SentencesAreAlignedToTheLeft) {
  Grid grid = {{"a", "b", "why"}, {{"x", "1", "so"}, {"y", "12", "not so"}}};
  grid.prose_columns = 1;
  EXPECT_EQ(to_markdown(grid),
            "| a |  b | why    |\n"
            "| - | --:| ------ |\n"
            "| x |  1 | so     |\n"
            "| y | 12 | not so |\n");
  Page page;
  page.sections.push_back({"", "", grid});
  EXPECT_EQ(occurrences(to_html(page), "<td class=\"prose\">"), 2U);
}

TEST(Markdown, ColumnsAreAligned) {
  EXPECT_EQ(to_markdown({{"a", "Δp"}, {{"long name", "1"}, {"x", "12.5 | 3"}}}),
            "| a         |       Δp |\n"
            "| --------- | --------:|\n"
            "| long name |        1 |\n"
            "| x         | 12.5 / 3 |\n");
}

TEST(HeatMap, HasACellPerValueAndLeavesGaps) {
  HeatMap map;
  map.rows = {"0 %", "50 %"};
  map.columns = {"a<b", "c"};
  map.values = {{0, 1}, {0.5, std::numeric_limits<double>::quiet_NaN()}};
  const std::string svg = heat_map(map);
  EXPECT_EQ(occurrences(svg, "class=\"cell\""), 3U);
  EXPECT_EQ(occurrences(svg, "class=\"none\""), 1U);
  EXPECT_NE(svg.find("a&lt;b"), std::string::npos);
  EXPECT_NE(svg.find(">0.50<"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  // More is stronger.
  const auto opacity = [&](const std::string& figure) {
    const size_t text = svg.find(">" + figure + "<");
    const size_t at = svg.rfind("fill-opacity=\"", text);
    return std::stod(svg.substr(at + std::string("fill-opacity=\"").size(), 5));
  };
  EXPECT_LT(opacity("0.00"), opacity("0.50"));
  EXPECT_LT(opacity("0.50"), opacity("1.00"));
  EXPECT_NE(heat_map({}).find("</svg>"), std::string::npos);
}

TEST(Plots, TakeOddData) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  const std::string lines =
      line_plot("x", "y", {{"<&>", {1, 2, 3}, {0, none, 2}}, {"empty", {}, {}}});
  EXPECT_EQ(occurrences(lines, "<circle"), 2U);
  EXPECT_EQ(lines.find("nan"), std::string::npos);
  EXPECT_NE(lines.find("&lt;&amp;&gt;"), std::string::npos);
  EXPECT_NE(line_plot("x", "y", {}).find("</svg>"), std::string::npos);
  const std::string all = bars({{"a", 2, "2"}, {"b", 1, "1"}, {"c", none, "-"}, {"d", 0, "0"}});
  EXPECT_EQ(occurrences(all, "<rect"), 4U);
  EXPECT_EQ(all.find("nan"), std::string::npos);
  EXPECT_NE(bars({}).find("</svg>"), std::string::npos);
}

TEST(Spread, LooksAtTheBadEnd) {
  std::vector<double> values;
  for (int i = 0; i <= 100; ++i) values.push_back(i);
  const Spread more = spread(values, true);
  EXPECT_DOUBLE_EQ(more.mean, 50);
  EXPECT_DOUBLE_EQ(more.tail, 1);
  EXPECT_DOUBLE_EQ(more.worst, 0);
  const Spread less = spread(values, false);
  EXPECT_DOUBLE_EQ(less.tail, 99);
  EXPECT_DOUBLE_EQ(less.worst, 100);
}

TEST(ListQualities, AddUpByHeadAndOverAll) {
  ListQualities qualities;
  RowSample sample;
  sample.head = 1;
  sample.visible = 100;
  sample.kept = 20;
  sample.oracle_kept = 10;
  sample.lost = 0.1;
  sample.estimated_lost = 0.2;
  sample.oracle_lost = 0.04;
  sample.recall = 0.5;
  qualities.add(0, sample);
  sample.head = 0;
  sample.kept = 40;
  sample.oracle_kept = 30;
  sample.lost = 0.3;
  sample.recall = 1;
  qualities.add(2, sample);
  qualities.add_output_error(2, 0, 0.25);

  const ListQuality all = qualities.all();
  EXPECT_EQ(all.rows, 2);
  EXPECT_DOUBLE_EQ(all.kept, 0.3);
  EXPECT_DOUBLE_EQ(all.oracle_kept, 0.2);
  EXPECT_DOUBLE_EQ(all.kept_over_oracle(), 1.5);
  EXPECT_DOUBLE_EQ(all.mass.mean, 0.8);
  EXPECT_DOUBLE_EQ(all.mass.worst, 0.7);
  EXPECT_DOUBLE_EQ(all.estimated_mass, 0.8);
  EXPECT_DOUBLE_EQ(all.recall.mean, 0.75);
  EXPECT_NEAR(all.oracle_gap.worst, 0.26, 1e-12);
  EXPECT_DOUBLE_EQ(all.output_error.mean, 0.25);
  const auto heads = qualities.heads();
  ASSERT_EQ(heads.size(), 2U);
  EXPECT_DOUBLE_EQ(heads.at({0, 1}).kept, 0.2);
  EXPECT_DOUBLE_EQ(heads.at({2, 0}).mass.mean, 0.7);
}

TEST(Methods, AreTheReferenceTheHeadlineAndWhatWasAskedFor) {
  Config config;
  config.engine.keep = 0.3;
  const std::vector<Method> methods = make_methods({"window", "oracle", "dense"}, config);
  std::vector<std::string> names;
  for (const Method& method : methods) names.push_back(method.name);
  EXPECT_EQ(names, (std::vector<std::string>{"dense", "oracle", "shadow", "window"}));
  for (const Method& method : methods) EXPECT_EQ(method.config.engine.keep, 0.3);
  EXPECT_EQ(methods[0].config.engine.precision, Precision::kF32);
  EXPECT_EQ(methods[1].config.engine.mode, Mode::kOracle);
  EXPECT_FALSE(make_methods({kFloor}, config)[1].config.enabled);
  for (const std::string& name : method_names()) EXPECT_EQ(method_problem(name), "");
  EXPECT_NE(method_problem("sparse").find("known: dense"), std::string::npos);
}

TEST(Methods, OnlyTheReferenceIsInF32Anyway) {
  for (const Precision precision : {Precision::kFast, Precision::kF32}) {
    Config config;
    config.engine.precision = precision;
    const std::vector<Method> methods = make_methods({"dense-fast"}, config);
    ASSERT_EQ(methods.size(), 3U);
    EXPECT_EQ(methods[0].config.engine.precision, Precision::kF32);
    EXPECT_EQ(methods[1].name, "dense-fast");
    EXPECT_EQ(methods[1].config.engine.mode, Mode::kDense);
    EXPECT_TRUE(methods[1].config.enabled);
    EXPECT_TRUE(keeps_all(methods[1]));
    for (size_t i = 1; i < 3; ++i) EXPECT_EQ(methods[i].config.engine.precision, precision);
  }
}

TEST(Methods, AnotherSettingOfShadowIsNamedAfterIt) {
  Config config;
  config.engine.mode = Mode::kDense;
  config.engine.output_error = 0;
  config.engine.attn_error = 0.05;
  EXPECT_EQ(shadow_at(config).name, "shadow, attn_error 0.05");
  EXPECT_EQ(shadow_at(config).config.engine.mode, Mode::kShadow);
  config.engine.keep = 0.3;
  EXPECT_EQ(shadow_at(config).name, "shadow, attn_error 0.05, keep at most 0.3");
  config.engine.attn_error = 0;
  EXPECT_EQ(shadow_at(config).name, "shadow, keep 0.3");
}

TEST(Settings, StandEachByItselfAndOnce) {
  const std::vector<double> errors = {0.01, 0.05, 0.01};
  const std::vector<double> keeps = {0.2, 0.1};
  const std::vector<double> output_errors = {0.03};
  EXPECT_EQ(separate_settings(output_errors, errors, keeps),
            (std::vector<Setting>{{.output_error = 0.03},
                                  {.attn_error = 0.01},
                                  {.attn_error = 0.05},
                                  {.keep = 0.2},
                                  {.keep = 0.1}}));
  EXPECT_TRUE(separate_settings({}, {}, {}).empty());
}

TEST(Settings, ShortenListsOnlyOfShares) {
  EngineOptions options;
  options.keep_floor = 100;
  EXPECT_EQ(options_at(options, Setting{.keep = 0.2}, true).keep_floor, 1);
  EXPECT_EQ(options_at(options, Setting{.keep = 0.2}, false).keep_floor, 100);
  const EngineOptions by_mass = options_at(options, Setting{.attn_error = 0.05}, true);
  EXPECT_EQ(by_mass.keep_floor, 100);
  EXPECT_EQ(by_mass.attn_error, 0.05);
  EXPECT_EQ(by_mass.keep, 1);
}

TEST(Granularity, IsReadAsItIsWritten) {
  for (const char* text : {"1x1", "8x1", "64x1", "1xgroup", "8xgroup", "64xgroup"}) {
    EXPECT_EQ(granularity_problem(text), "");
    EXPECT_EQ(granularity_text(parse_granularity(text)), text);
  }
  EXPECT_EQ(parse_granularity("64x1"), (Granularity{64, false}));
  EXPECT_EQ(parse_granularity("8xgroup"), (Granularity{8, true}));
  for (const char* text : {"", "8", "x1", "8x", "8x2", "0x1", "65x1", "-1x1", "8 x1", "8x1 ", "8X1",
                           "8xgroups", "8x1x1", "99999999999x1"}) {
    const std::string problem = granularity_problem(text);
    EXPECT_NE(problem.find("ROWSx1"), std::string::npos) << text;
    EXPECT_NE(problem.find(std::string("found ")), std::string::npos) << text;
    EXPECT_THROW(parse_granularity(text), Failure) << text;
  }
}

TEST(Granularity, GoesBeforeWhatAProfileChose) {
  Profile profile;
  profile.layers.resize(1);
  profile.layers[0].kv_heads.resize(2);
  profile.layers[0].kv_heads[1].lists = {true, 4, true};
  EngineOptions options;
  options.profile = std::make_shared<const Profile>(profile);
  const EngineOptions changed = options_at(options, Granularity{32, false});
  EXPECT_EQ(granularity_of(changed), (Granularity{32, false}));
  EXPECT_EQ(changed.profile->layers[0].kv_heads[0].lists, (ListShape{false, 32, false}));
  EXPECT_EQ(changed.profile->layers[0].kv_heads[1].lists, (ListShape{true, 32, false}));
  EXPECT_EQ(options.profile->layers[0].kv_heads[0].lists, ListShape());
}

}  // namespace
}  // namespace shadowattn::tool::eval
