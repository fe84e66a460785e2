// Stages of timelines: their names, and spans that end where their scope ends.
#include "shadowattn/trace.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace shadowattn {
namespace {

TEST(TraceTest, StagesHaveNamesOfTheirOwn) {
  std::set<std::string> names;
  for (const TraceStage stage : {TraceStage::kPrepare, TraceStage::kDevice, TraceStage::kWait,
                                 TraceStage::kPilot, TraceStage::kSelect, TraceStage::kAttend}) {
    names.insert(name_of(stage));
  }
  EXPECT_EQ(names,
            (std::set<std::string>{"attend", "device", "pilot", "prepare", "select", "wait"}));
}

TEST(TraceTest, SpanAddsOneEventAtItsEnd) {
  Trace trace;
  {
    const TraceSpan outer(&trace, {.stage = TraceStage::kPrepare, .lane = 3, .kv_head = 2});
    const TraceSpan inner(&trace, {.stage = TraceStage::kWait});
    EXPECT_TRUE(trace.take().empty());
  }
  const std::vector<TraceEvent> events = trace.take();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].stage, TraceStage::kWait);
  EXPECT_EQ(events[1].stage, TraceStage::kPrepare);
  EXPECT_EQ(events[1].lane, 3);
  EXPECT_EQ(events[1].kv_head, 2);
  EXPECT_GT(events[1].start_ns, 0);
  EXPECT_LE(events[1].start_ns, events[0].start_ns);
  EXPECT_LE(events[0].end_ns, events[1].end_ns);
  EXPECT_TRUE(trace.take().empty());
}

TEST(TraceTest, SpanOfAllThreadsAddsOneEventEach) {
  Trace trace;
  { const TraceSpan span(&trace, {.lane = 2}, 3); }
  std::set<int32_t> lanes;
  for (const TraceEvent& event : trace.take()) lanes.insert(event.lane);
  EXPECT_EQ(lanes, (std::set<int32_t>{2, 3, 4}));
}

TEST(TraceTest, SpanWithoutTraceDoesNothing) { const TraceSpan span(nullptr, {}); }

}  // namespace
}  // namespace shadowattn
