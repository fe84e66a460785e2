// Timelines: read from the plug-in's text, summed up, drawn.
#include "trace/timeline.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>

#include "common/failure.h"
#include "trace/timeline_svg.h"

namespace shadowattn::tool {
namespace {

using nlohmann::json;

json stage(const std::string& name, int tid, int call, double start, double duration) {
  return {{"name", name},    {"cat", "stage"}, {"ph", "X"},  {"ts", start},
          {"dur", duration}, {"pid", 1},       {"tid", tid}, {"args", {{"call", call}}}};
}

json thread(int tid, const std::string& name) {
  return {
      {"name", "thread_name"}, {"ph", "M"}, {"pid", 1}, {"tid", tid}, {"args", {{"name", name}}}};
}

json call(int layer, int rows, double start, double duration) {
  return {{"name", "call"},  {"cat", "call"},
          {"ph", "X"},       {"ts", start},
          {"dur", duration}, {"pid", 1},
          {"tid", 0},        {"args", {{"layer", layer}, {"rows", rows}, {"keys", 64}}}};
}

/// Layer 0: a dense call. Layer 1: 100 us with 40 of the device, 10 of waiting and 25 of work, then
/// a shorter one of fewer rows.
json sample() {
  return {{"otherData", {{"device", "npu-sim"}, {"note", ""}}},
          {"traceEvents",
           {thread(0, "attention calls"), thread(1, "device npu-sim"), thread(2, "CPU 0"),
            thread(3, "CPU 1"), call(0, 512, 0, 50), stage("attend", 2, 0, 1, 49),
            call(1, 512, 100, 100), stage("prepare", 2, 1, 100, 5), stage("device", 1, 1, 110, 15),
            stage("device", 1, 1, 125, 25), stage("wait", 2, 1, 105, 10),
            stage("select", 2, 1, 150.25, 7.5), stage("attend", 2, 1, 160, 12.5),
            stage("attend", 3, 1, 160, 40), call(1, 8, 300, 10), stage("select", 3, 2, 301, 1)}}};
}

TEST(Timeline, IsReadFromThePluginsText) {
  const Timeline timeline = parse_timeline(sample());
  EXPECT_EQ(timeline.device, "npu-sim");
  ASSERT_EQ(timeline.calls.size(), 3U);
  EXPECT_FALSE(timeline.calls[0].sparse());
  const TimelineCall& one = timeline.calls[1];
  EXPECT_TRUE(one.sparse());
  EXPECT_EQ(one.layer, 1);
  EXPECT_EQ(one.start_ns, 100'000);
  EXPECT_EQ(one.wall_ns(), 100'000);
  ASSERT_EQ(one.events.size(), 7U);
  EXPECT_EQ(one.events[4].stage, TraceStage::kSelect);
  EXPECT_EQ(one.events[4].unit, 0);
  EXPECT_EQ(one.events[4].start_ns, 150'250);
  EXPECT_EQ(one.events[4].end_ns, 157'750);
  EXPECT_EQ(one.events[1].unit, kTraceDeviceLane);
}

TEST(Timeline, RefusesOtherText) {
  json unknown_stage = sample();
  unknown_stage["traceEvents"].push_back(stage("sleep", 2, 1, 0, 1));
  json unknown_call = sample();
  unknown_call["traceEvents"].push_back(stage("attend", 2, 9, 0, 1));
  json unknown_thread = sample();
  unknown_thread["traceEvents"].push_back(stage("attend", 9, 1, 0, 1));
  json bad_thread = sample();
  bad_thread["traceEvents"].push_back(thread(4, "CPU x"));
  for (const json& bad : {json(), json::object(), json({{"traceEvents", 5}}), unknown_stage,
                          unknown_call, unknown_thread, bad_thread}) {
    EXPECT_THROW(parse_timeline(bad), Failure) << bad;
  }
}

TEST(Timeline, SumsLeaveDenseCallsOutAndCountWaitingAsIdle) {
  const Timeline timeline = parse_timeline(sample());
  const TimelineSums first = sum_up({&timeline.calls[1], 1});
  ASSERT_EQ(first.units.size(), 3U);
  EXPECT_EQ(first.units[0].unit, kTraceDeviceLane);
  EXPECT_EQ(first.units[0].busy_ns(), 40'000);
  EXPECT_DOUBLE_EQ(first.units[0].idle_share, 0.6);
  EXPECT_EQ(first.units[1].busy_ns(), 25'000);
  EXPECT_DOUBLE_EQ(first.units[1].idle_share, 0.75);
  EXPECT_EQ(first.units[1].stage_ns[2], 10'000) << "waiting";
  EXPECT_DOUBLE_EQ(first.units[2].idle_share, 0.6);

  const TimelineSums all = sum_up(timeline.calls);
  EXPECT_EQ(all.calls, 2);
  EXPECT_EQ(all.dense_calls, 1);
  EXPECT_EQ(all.wall_ns, 110'000);
  EXPECT_EQ(all.units[2].busy_ns(), 41'000);
  EXPECT_EQ(sum_up(timeline.calls, 0).calls, 0);
  EXPECT_EQ(sum_up(timeline.calls, 0).dense_calls, 1);
  EXPECT_TRUE(sum_up({}).units.empty());
}

TEST(Timeline, DrawsTheLastCallOfManyRows) {
  const Timeline timeline = parse_timeline(sample());
  EXPECT_EQ(last_full_call(timeline, 1), &timeline.calls[1]);
  EXPECT_EQ(last_full_call(timeline, 0), nullptr) << "dense";
  EXPECT_EQ(last_full_call(timeline, 7), nullptr);
}

struct Box {
  double x, width;
  std::string fill;
};

std::vector<Box> boxes(const std::string& svg) {
  const std::regex pattern(
      "<rect x=\"([-0-9.]+)\" y=\"[-0-9.]+\" width=\"([-0-9.]+)\" height=\"26.0\" "
      "fill=\"(#\\w+)\"");
  std::vector<Box> found;
  for (std::sregex_iterator it(svg.begin(), svg.end(), pattern), end; it != end; ++it) {
    found.push_back({std::stod((*it)[1]), std::stod((*it)[2]), (*it)[3]});
  }
  return found;
}

TEST(TimelineSvg, DrawsLanesToScale) {
  const Timeline timeline = parse_timeline(sample());
  TimelineCall half = timeline.calls[1];
  half.end_ns = half.start_ns + half.wall_ns() / 2;
  half.events = {{TraceStage::kPilot, 0, half.start_ns + 10'000, half.start_ns + 20'000}};
  const std::string svg = timeline_svg(
      "title", "more", {{"first", "npu-sim", timeline.calls[1]}, {"second", "npu-sim", half}});
  const std::vector<Box> drawn = boxes(svg);
  ASSERT_EQ(drawn.size(), 3U + 7U + 1U + 1U);
  // The lanes' grounds: the first panel's device and threads, the second's only thread.
  const double whole = drawn[0].width;
  EXPECT_NEAR(drawn[10].width, whole / 2, 0.02);
  const Box& pilot = drawn[11];
  EXPECT_NEAR(pilot.x - drawn[10].x, whole * 0.1, 0.02);
  EXPECT_NEAR(pilot.width, whole * 0.1, 0.02);
  const Box& launch = drawn[2];
  EXPECT_NEAR(launch.x - drawn[0].x, whole * 0.25, 0.02);
  for (const Box& box : drawn) EXPECT_LE(box.x + box.width, drawn[0].x + whole + 0.02);
  for (const std::string text : {">first: 0.10 ms<", ">second: 0.05 ms<", ">device npu-sim<",
                                 ">CPU 1<", ">idle 60.0 %<", ">idle 75.0 %<", ">idle 80.0 %<"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
}

TEST(TimelineSvg, JoinsNeighboursThatNobodyCouldTellApart) {
  TimelineCall call{
      .layer = 0, .rows = 1, .keys = 1, .start_ns = 0, .end_ns = 1'000'000'000, .events = {}};
  for (int64_t i = 0; i < 100'000; ++i) {
    call.events.push_back({TraceStage::kAttend, 0, i * 10'000, i * 10'000 + 9'000});
  }
  EXPECT_EQ(boxes(timeline_svg("", "", {{"", "cpu", call}})).size(), 2U);
}

TEST(TimelineSvg, TakesAnyTextAndOddData) {
  TimelineCall empty;
  TimelineCall point{.layer = 0, .rows = 0, .keys = 0, .start_ns = 5, .end_ns = 5, .events = {}};
  point.events = {{TraceStage::kWait, 3, 5, 5}};
  const std::string svg =
      timeline_svg("a<b>&\x01\xFF", "]]>", {{"<&>", "", empty}, {"", "x<y", point}});
  EXPECT_NE(svg.find("a&lt;b&gt;&amp;"), std::string::npos);
  for (const std::string bad : {"\x01", "\xFF", "nan", "inf"}) {
    EXPECT_EQ(svg.find(bad), std::string::npos);
  }
  EXPECT_NE(timeline_svg("", "", {}).find("</svg>"), std::string::npos);
}

}  // namespace
}  // namespace shadowattn::tool
