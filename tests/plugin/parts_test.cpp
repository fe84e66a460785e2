// Parts of the plug-in that need no host: what happens when the engine fails, the report, its file.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "attend.h"
#include "control_functions.h"
#include "flash_attn.h"
#include "graph_walk.h"
#include "openmp_executor.h"
#include "plugin_state.h"
#include "report.h"
#include "report_file.h"
#include "trace_log.h"

namespace shadowattn::plugin {
namespace {

using nlohmann::json;

/// A node with two streams and nothing behind it.
struct EmptyNode {
  ggml_tensor q{}, k{}, v{}, out{};

  EmptyNode() {
    for (ggml_tensor* t : {&q, &k, &v, &out}) {
      t->ne[0] = 64;
      t->ne[1] = t->ne[2] = 1;
      t->ne[3] = 2;
    }
    out.src[0] = &q;
    out.src[1] = &k;
    out.src[2] = &v;
  }
};

TEST(AttendNodeTest, ComputesDenselyWhatFails) {
  const EmptyNode node;
  Report report;
  int dense_calls = 0;
  const AttendFn failing = [](const AttentionCall&, CallReport*) {
    return Status(StatusCode::kOutOfMemory, "no memory");
  };
  const AttendFn working = [&](const AttentionCall&, CallReport* done) {
    ++dense_calls;
    done->rows = 5;
    done->dense_reason = DenseReason::kRequested;
    return Status();
  };
  AttendContext context;
  EXPECT_TRUE(attend_node(&node.out, context, failing, working, report).ok());
  EXPECT_EQ(dense_calls, 2) << "once per stream";
  const json totals = json::parse(report.to_json({}, "avx2"))["totals"];
  EXPECT_EQ(totals["rows"], 10);
  EXPECT_EQ(totals["dense_reasons"], json({{"failed: no memory", 2}}));
}

TEST(AttendNodeTest, SaysWhenBothFail) {
  const EmptyNode node;
  Report report;
  const AttendFn failing = [](const AttentionCall&, CallReport*) {
    return Status(StatusCode::kOutOfMemory, "no memory");
  };
  AttendContext context;
  EXPECT_EQ(attend_node(&node.out, context, failing, failing, report).code(),
            StatusCode::kOutOfMemory);
}

TEST(AblateTest, ZeroesTheNamedHeadsOfTheNamedLayer) {
  constexpr int64_t kHeads = 3;
  constexpr int64_t kRows = 2;
  constexpr int64_t kDim = 4;
  const auto zeroed = [&](const Ablation& ablation, int layer) {
    std::vector<float> values(kHeads * kRows * kDim, 1.0F);
    // As ggml lays it out: the heads of a row side by side.
    ablate(
        ablation, layer,
        {values.data(), kHeads, kRows, kDim, kDim * sizeof(float), kHeads * kDim * sizeof(float)});
    std::string heads;
    for (size_t i = 0; i < values.size(); i += kDim) {
      heads += values[i] == 0.0F && values[i + kDim - 1] == 0.0F ? '0' : '1';
    }
    return heads;
  };
  EXPECT_EQ(zeroed({}, -1), "111111");
  EXPECT_EQ(zeroed({}, 0), "111111");
  EXPECT_EQ(zeroed({2, 1}, 2), "101101");
  EXPECT_EQ(zeroed({2, -1}, 2), "000000");
  EXPECT_EQ(zeroed({2, 1}, 3), "111111");
  EXPECT_EQ(zeroed({2, 7}, 2), "111111");
}

TEST(LayerTest, FollowsViewsToTheCache) {
  ggml_tensor cache{}, view{}, permuted{}, node{};
  std::snprintf(cache.name, sizeof(cache.name), "cache_k_l31");
  view.view_src = &cache;
  permuted.src[0] = &view;
  node.src[1] = &permuted;
  EXPECT_EQ(layer_of(&node), 31);
  std::snprintf(cache.name, sizeof(cache.name), "k");
  EXPECT_EQ(layer_of(&node), -1);
  std::snprintf(cache.name, sizeof(cache.name), "cache_k_l");
  EXPECT_EQ(layer_of(&node), -1);
}

TEST(LayerTest, OfQueriesWhereLayersShareACache) {
  ggml_tensor cache{}, queries{}, permuted{}, node{};
  std::snprintf(cache.name, sizeof(cache.name), "cache_k_l18");
  permuted.src[0] = &queries;
  node.src[0] = &permuted;
  node.src[1] = &cache;
  const auto layer = [&](const char* name) {
    std::snprintf(queries.name, sizeof(queries.name), "%s", name);
    return layer_of(&node);
  };
  EXPECT_EQ(layer("Qcur-25"), 25);
  EXPECT_EQ(layer("Qcur_normed-7 (reshaped)"), 7);
  EXPECT_EQ(layer("node_25"), 18);
  EXPECT_EQ(layer("Qcur-"), 18);
  EXPECT_EQ(layer("Qcur-2x"), 18);
  EXPECT_EQ(layer(""), 18);
  cache.name[0] = 'x';
  EXPECT_EQ(layer("Qcur-25"), -1) << "attention to no cache";
}

TEST(GraphWalkTest, LayersOfAGraphShareAMask) {
  ggml_tensor queries{}, mask{}, window{}, node{};
  char memory[2];
  queries.ne[3] = 1;
  mask.data = memory;
  window.data = memory + 1;
  node.src[0] = &queries;
  node.src[3] = &mask;
  GraphWalk walk;
  const uint64_t first = walk.mask_id(&node, 0);
  EXPECT_NE(first, 0U);
  EXPECT_EQ(walk.mask_id(&node, 1), first);
  node.src[3] = &window;
  const uint64_t second = walk.mask_id(&node, 2);
  EXPECT_NE(second, first);
  node.src[3] = &mask;
  EXPECT_EQ(walk.mask_id(&node, 5), first);
  const uint64_t next = walk.mask_id(&node, 5);
  EXPECT_TRUE(next != first && next != second && next != 0) << "the same layer again: a new graph";
  mask.ne[0] = 64;
  EXPECT_NE(walk.mask_id(&node, 6), next) << "another shape";
  EXPECT_EQ(walk.mask_id(&node, -1), 0U) << "no layer";
  queries.ne[3] = 2;
  EXPECT_EQ(walk.mask_id(&node, 7), 0U) << "streams have masks of their own";
  queries.ne[3] = 1;
  node.src[3] = nullptr;
  EXPECT_EQ(walk.mask_id(&node, 8), 0U);
}

TEST(HostGgmlTest, KnowsVersions) {
  EXPECT_TRUE(is_known_ggml_version("0.25.1"));
  EXPECT_TRUE(is_known_ggml_version("0.25.1-dirty"));
  EXPECT_FALSE(is_known_ggml_version("0.26.0"));
  EXPECT_FALSE(is_known_ggml_version("0.2"));
  EXPECT_FALSE(is_known_ggml_version(""));
}

TEST(ReportTest, SumsPerLayer) {
  Report report;
  report.set_threads(3);
  CallReport call;
  call.rows = 10;
  call.visible_pairs = 1000;
  call.kept_pairs = 200;
  call.lists = 4;
  call.pilot_ns = 1500000;
  report.add_call(1, 1, call, {}, 250000);
  report.add_call(1, 1, call, {}, 500000);
  call.dense_reason = DenseReason::kShort;
  report.add_call(1, 0, call);
  report.add_decline(2, "k type q4_0");
  report.add_decline(2, "k type q4_0");
  report.add_decline(-1, "k type q4_0");
  const json result = json::parse(report.to_json({}, "avx2"));
  EXPECT_EQ(result["isa"], "avx2");
  EXPECT_EQ(result["threads"], 3);
  EXPECT_EQ(result["config"]["keep"], 1.0);
  EXPECT_EQ(result["totals"]["calls"], 3);
  EXPECT_EQ(result["totals"]["dense_calls"], 1);
  ASSERT_EQ(result["layers"].size(), 2U);
  EXPECT_EQ(result["layers"][1]["layer"], 1);
  EXPECT_EQ(result["layers"][1]["kept_share"], 0.2);
  EXPECT_EQ(result["layers"][1]["pilot_ms"], 3.0);
  EXPECT_EQ(result["layers"][1]["cpu_ms"], 0.75);
  EXPECT_EQ(result["layers"][0]["cpu_ms"], 0.0);
  EXPECT_EQ(result["totals"]["cpu_ms"], 0.75);
  EXPECT_EQ(result["declined"],
            json::array({{{"reason", "k type q4_0"}, {"count", 3}, {"layers", {2}}}}));
  EXPECT_FALSE(result.contains("note"));
  report.reset();
  EXPECT_TRUE(json::parse(report.to_json({}, "avx2")).contains("note"));
  Config off;
  off.enabled = false;
  EXPECT_FALSE(json::parse(report.to_json(off, "avx2")).contains("note"));
}

TEST(ReportTest, TellsContextsApart) {
  Report report;
  CallReport call;
  call.visible_pairs = 1000;
  call.kept_pairs = 200;
  report.add_call(1, 5, call);
  EXPECT_FALSE(json::parse(report.to_json({}, "")).contains("contexts")) << "one is all";
  call.kept_pairs = 600;
  report.add_call(3, 5, call);
  const json result = json::parse(report.to_json({}, ""));
  ASSERT_EQ(result["layers"].size(), 1U);
  EXPECT_EQ(result["layers"][0]["kept_share"], 0.4);
  ASSERT_EQ(result["contexts"].size(), 2U);
  EXPECT_EQ(result["contexts"][0]["context"], 1);
  EXPECT_EQ(result["contexts"][0]["kept_share"], 0.2);
  EXPECT_EQ(result["contexts"][1]["context"], 3);
  EXPECT_EQ(result["contexts"][1]["kept_share"], 0.6);
}

TEST(ReportTest, SurvivesBytesThatAreNotUtf8) {
  Config config;
  config.report_path = "a\xff\"b";
  EXPECT_TRUE(json::accept(Report().to_json(config, "")));
}

TEST(ReportTest, ConfigHoldsEveryKeyWithItsType) {
  const Config config =
      parse_config("keep=0.5,share_heads=no,device=npu-sim,fuse_heads=2,soc=7,clip=0.25").value();
  const json shown = json::parse(Report().to_json(config, ""))["config"];
  for (const ConfigValue& value : config_values(config)) {
    EXPECT_TRUE(shown.contains(value.key)) << value.key;
  }
  EXPECT_EQ(shown["keep"], 0.5);
  EXPECT_EQ(shown["share_heads"], false);
  EXPECT_EQ(shown["row_scales"], true);
  EXPECT_EQ(shown["device"], "npu-sim");
  EXPECT_EQ(shown["fuse_heads"], 2);
  EXPECT_EQ(shown["soc"], "7") << "the name of a file";
  EXPECT_EQ(shown["clip"], 0.25);
  EXPECT_EQ(shown["fault"], "none");
  EXPECT_EQ(shown["trace"], "");
}

TEST(ReportTest, SumsWhatADeviceDid) {
  Report report;
  CallReport call;
  report.add_call(1, 0, call);
  call.device.launches = 3;
  call.device.rows = 100;
  call.device.key_elements = 700;
  call.device.clipped_keys = 10;
  call.device.query_elements = 300;
  call.device.clipped_queries = 15;
  call.device.sampled_scores = 200;
  call.device.saturated_scores = 50;
  call.device.sampled_kept = 10;
  call.device.tied_kept = 1;
  call.device.busy_ns = 1'000'000;
  call.device.span_ns = 4'000'000;
  report.add_call(1, 1, call);
  call.device.note = "lost";
  report.add_call(1, 2, call);
  const json result = json::parse(report.to_json({}, "avx2"));
  EXPECT_FALSE(result["layers"][0].contains("device")) << "no device was asked";
  EXPECT_EQ(result["layers"][1]["device"]["launches"], 3);
  EXPECT_EQ(result["layers"][1]["device"]["notes"], json::object());
  const json sums = result["totals"]["device"];
  EXPECT_EQ(sums["rows"], 200);
  EXPECT_EQ(sums["notes"], json({{"lost", 1}}));
  EXPECT_EQ(sums["busy_ms"], 2.0);
  EXPECT_EQ(sums["span_ms"], 8.0);
  EXPECT_EQ(sums["clipped_share"], 0.025);
  EXPECT_EQ(sums["saturated_share"], 0.25);
  EXPECT_EQ(sums["tied_share"], 0.1);
  EXPECT_EQ(sums["idle_share"], 0.75);
}

TracedCall traced_call(int layer, int64_t start, int64_t end, std::vector<TraceEvent> events) {
  return {.context = 1,
          .layer = layer,
          .rows = 8,
          .keys = 64,
          .start_ns = start,
          .end_ns = end,
          .events = std::move(events)};
}

TEST(TraceLogTest, WritesEventsOnNamedThreads) {
  constexpr int64_t kStart = 5'000'000'000'123;
  TraceLog log("npu-sim");
  log.add(traced_call(
      3, kStart, kStart + 9'007,
      {{TraceStage::kDevice, kTraceDeviceLane, 1, 16, 8, kStart + 1'000, kStart + 2'500},
       {TraceStage::kAttend, 2, 0, 0, 4, kStart + 3'001, kStart + 3'001}}));
  const json trace = json::parse(log.to_json());
  std::map<int, std::string> threads;
  std::map<std::string, json> events;
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] == "X") events[event["name"]] = event;
    if (event["name"] == "thread_name") threads[event["tid"]] = event["args"]["name"];
  }
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(threads[events["layer 3"]["tid"]], "attention calls");
  EXPECT_EQ(threads[events["device"]["tid"]], "device npu-sim");
  EXPECT_EQ(threads[events["attend"]["tid"]], "CPU 2");
  EXPECT_EQ(threads.size(), 3U) << "threads without events";
  EXPECT_EQ(events["layer 3"]["ts"], 0.0);
  EXPECT_EQ(events["layer 3"]["dur"], 9.007);
  EXPECT_EQ(events["device"]["ts"], 1.0);
  EXPECT_EQ(events["device"]["dur"], 1.5);
  EXPECT_EQ(events["attend"]["dur"], 0.0);
  EXPECT_EQ(events["device"]["args"],
            json({{"call", 0}, {"layer", 3}, {"kv_head", 1}, {"first_row", 16}, {"rows", 8}}));
  EXPECT_EQ(trace["otherData"]["note"], "");
}

TEST(TraceLogTest, IsBoundedAndSaysSo) {
  TraceLog log("cpu", 5);
  const std::vector<TraceEvent> two(2);
  for (int layer = 0; layer < 4; ++layer) log.add(traced_call(layer, 0, 1, two));
  const json trace = json::parse(log.to_json());
  int64_t events = 0;
  for (const json& event : trace["traceEvents"]) events += event["ph"] == "X" ? 1 : 0;
  EXPECT_EQ(events, 3);
  EXPECT_NE(trace["otherData"]["note"].get<std::string>().find("3 later calls"), std::string::npos);
}

TEST(TraceLogTest, ForgetsWhatWasTaken) {
  TraceLog log("cpu");
  EXPECT_EQ(json::parse(log.take_json())["traceEvents"], json::array());
  log.add(traced_call(0, 5, 6, {}));
  EXPECT_NE(log.take_json().find("layer 0"), std::string::npos);
  EXPECT_EQ(json::parse(log.take_json())["traceEvents"], json::array());
}

class ReportFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "shadowattn-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  std::string path(const std::string& name) const { return (folder / name).string(); }
  size_t files() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
  }
  static std::string read(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  std::filesystem::path folder;
};

TEST_F(ReportFileTest, WritesAndReplaces) {
  EXPECT_TRUE(check_report_path(path("r.json")).ok());
  EXPECT_EQ(files(), 0U) << "the check left something";
  EXPECT_TRUE(write_report_file(path("r.json"), "one").ok());
  EXPECT_TRUE(write_report_file(path("r.json"), "two").ok());
  EXPECT_EQ(read(path("r.json")), "two");
  EXPECT_EQ(files(), 1U);
}

TEST_F(ReportFileTest, RefusesWhatCannotBeWritten) {
  for (const std::string& bad : {path(""), path("no/such/folder/r.json"), std::string("/")}) {
    const Status status = check_report_path(bad);
    EXPECT_FALSE(status.ok()) << bad;
    EXPECT_NE(status.message().find(bad), std::string::npos);
    EXPECT_FALSE(write_report_file(bad, "text").ok());
  }
  EXPECT_EQ(files(), 0U);
}

TEST_F(ReportFileTest, WritesThroughLinksAndIntoDevices) {
  ASSERT_TRUE(write_report_file(path("real.json"), "old").ok());
  std::filesystem::create_symlink("real.json", path("link.json"));
  EXPECT_TRUE(write_report_file(path("link.json"), "new").ok());
  EXPECT_TRUE(std::filesystem::is_symlink(path("link.json")));
  EXPECT_EQ(read(path("real.json")), "new");

  EXPECT_TRUE(check_report_path("/dev/null").ok());
  EXPECT_TRUE(write_report_file("/dev/null", "text").ok());
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  EXPECT_FALSE(write_report_file("/dev/full", "text").ok());
}

TEST(ExecutorTest, RunsEveryTaskOnceOnItsOwnThreadNumber) {
  const std::unique_ptr<Executor> executor = make_host_executor(3);
  ASSERT_NE(executor, nullptr);
  EXPECT_EQ(executor->threads(), 3);
  std::vector<std::atomic<int>> done(1000);
  std::vector<std::atomic<int>> busy(3);
  executor->run(1000, [&](int64_t index, int thread) {
    EXPECT_EQ(++busy.at(static_cast<size_t>(thread)), 1);
    ++done.at(static_cast<size_t>(index));
    --busy.at(static_cast<size_t>(thread));
  });
  for (const std::atomic<int>& count : done) EXPECT_EQ(count, 1);
  executor->run(0, [](int64_t, int) { FAIL(); });
}

TEST(ControlTest, UnknownNamesGiveNull) { EXPECT_EQ(control_function("other"), nullptr); }

// Contexts of different configs take turns: each finds the engines again that it had.
TEST(PluginStateTest, AConfigInUseIsTheSameAgain) {
  PluginState state{HostGgml{}};
  ASSERT_TRUE(state.configure("keep=0.2").ok());
  const auto first = state.settings();
  ASSERT_TRUE(state.configure("keep=0.3,profile=/no/such/profile").ok());  // runs without it
  const auto second = state.settings();
  EXPECT_NE(first, second);
  ASSERT_TRUE(state.configure("keep = 0.2").ok());
  EXPECT_EQ(state.settings(), first);
  ASSERT_TRUE(state.configure("profile=/no/such/profile,keep=0.3").ok());
  EXPECT_EQ(state.settings(), second);
  EXPECT_FALSE(state.configure("keep=7").ok());
  EXPECT_EQ(state.settings(), second);
}

TEST(PluginStateTest, ATimelineBelongsToOneConfig) {
  PluginState state{HostGgml{}};
  ASSERT_TRUE(state.configure("trace=/dev/null").ok());
  const auto with_timeline = state.settings();
  ASSERT_TRUE(state.configure("").ok());
  EXPECT_EQ(state.settings()->trace, nullptr);
  ASSERT_TRUE(state.configure("trace=/dev/null").ok());
  EXPECT_NE(state.settings()->trace, with_timeline->trace);
}

}  // namespace
}  // namespace shadowattn::plugin
