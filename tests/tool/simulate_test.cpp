// Predictions of a prefill: a case computed by hand, what must hold for any, and bad input.
#include "simulate/prefill_prediction.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "common/failure.h"
#include "simulate/attention_call.h"
#include "simulate/call_schedule.h"

namespace shadowattn::tool::simulate {
namespace {

// Sums of some thousand doubles, each rounded.
constexpr double kRounding = 1e-9;

SocModel shipped(const std::string& name = "snapdragon-8gen3.json") {
  return load_soc_model(SHADOWATTN_SOURCE_DATA "/soc/" + name);
}

/// Rates of one operation or byte per ns.
SocModel simple_soc() {
  SocModel soc = shipped();
  soc.name = "simple";
  soc.graph_times = {.launch_ns = 1e6, .operations_per_second = 1e9};
  soc.rates = {.linear_operations_per_second = 1e9,
               .pilot_operations_per_second = 1e9,
               .estimate_operations_per_second = 1e9,
               .select_ns = 2,
               .attend_operations_per_second = 1e9,
               .dense_attention_ns = 10,
               .dense_scaling = 1,
               .memory_bytes_per_second = 1e9,
               .prime_cores = 1,
               .middle_cores = 4,
               .small_cores = 0,
               .prime_speed = 2,
               .small_speed = 0.5};
  return soc;
}

ModelShape simple_shape() { return parse_shape("2/1/32/3/64/128/1000"); }

/// One chunk, one dense layer, a quarter kept in the two others.
PrefillOptions simple_options(Launches launches) {
  return {.context = 128,
          .chunk = 128,
          .launches = launches,
          .pipeline = PipelineMode::kOff,
          .keep = 0.5,
          .dense_layers = 1,
          .cores = 2,
          .dense_cores = 2};
}

template <typename Function>
std::string failure_of(const Function& function) {
  try {
    function();
  } catch (const Failure& failure) {
    return failure.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

/// Names count the embedding never, once or twice (where the output layer is not tied to it).
TEST(ModelShapes, HaveTheParametersOfTheirNames) {
  for (const ModelShape& shape : known_shapes()) {
    check_shape(shape, shape.name);
    const double name = 1e9 * std::stod(shape.name.substr(shape.name.rfind('-') + 1));
    const auto embedding = static_cast<double>(shape.vocab * shape.hidden);
    const auto once = static_cast<double>(shape.parameters());
    EXPECT_GE(name, once - embedding) << shape.name;
    EXPECT_LE(name, once + embedding) << shape.name;
  }
}

TEST(ModelShapes, CanBeWrittenByHand) {
  const ModelShape shape = parse_shape("12/2/128/28/1536/8960/151936");
  EXPECT_TRUE(shape.same_shape(parse_shape("Qwen2.5-1.5B")));
  EXPECT_EQ(shape.group_heads(), 6);
  EXPECT_EQ(shape.layer_parameters(), 46'792'704);
  EXPECT_EQ(parse_shape("12/2/128/28/1536/8960").vocab, 0);
}

TEST(ModelShapes, BadOnesAreRefused) {
  for (const char* text :
       {"", "/", "qwen", "12/2/128/28/1536", "1/1/1/1/1/1/1/1", "12/2/128/28/1536/8960x",
        "12/2/128/28/1536/", "12//128/28/1536/8960", "12/2/128/28/1536/99999999999999999999"}) {
    EXPECT_NE(failure_of([&] { parse_shape(text); }).find("known: phonelm-0.5b"), std::string::npos)
        << text;
  }
  for (const char* text :
       {"0/2/128/28/1536/8960", "12/-2/128/28/1536/8960", "12/0/128/28/1536/8960",
        "12/2/128/2000000/1536/8960", "12/2/128/28/9999999999/8960", "12/5/128/28/1536/8960",
        "12/2/128/28/1536/8960/-1"}) {
    EXPECT_NE(failure_of([&] { parse_shape(text); }).find(text), std::string::npos) << text;
  }
}

TEST(SocModels, NeedTheSectionPrefill) {
  const std::string message = failure_of([] { load_soc_model("no such file.json"); });
  EXPECT_NE(message.find("no such file.json"), std::string::npos);
  EXPECT_NE(failure_of([] { load_soc_model("/dev/zero"); }).find("no regular file"),
            std::string::npos);
  EXPECT_NE(failure_of([] { parse_soc_model("{}", "x.json"); }).find("x.json"), std::string::npos);
  std::string text = R"({"schema": 1, "name": "x", "limits": {)";
  for (const SourcedFigure& figure : shipped().figures) {
    if (figure.group != "limits") continue;
    text += text.back() == '{' ? "\"" : ", \"";
    text += figure.name + R"(": {"value": )" + std::to_string(figure.value) + R"(, "unit": ")" +
            figure.unit + R"(", "source": "a test"})";
  }
  text += R"(}, "times": {"compile": {"value": 1, "unit": "ms", "source": "s"},)"
          R"("launch": {"value": 1, "unit": "ms", "source": "s"},)"
          R"("head": {"value": 1, "unit": "ms", "source": "s"},)"
          R"("operation_rate": {"value": 1, "unit": "Gop/s", "source": "s"}}})";
  EXPECT_NE(failure_of([&] { parse_soc_model(text, "x.json"); }).find("no section \"prefill\""),
            std::string::npos);
}

TEST(SocModels, EveryFigureHasAnOrigin) {
  for (const char* name : {"snapdragon-8gen3.json", "snapdragon-8gen2.json"}) {
    const SocModel soc = shipped(name);
    EXPECT_EQ(soc.figures.size(), 30U) << name;
    for (const SourcedFigure& figure : soc.figures) EXPECT_GT(figure.source.size(), 20U);
  }
  EXPECT_EQ(SourcedFigure{.source = "fitted: to x"}.origin(), Origin::kFitted);
  EXPECT_EQ(SourcedFigure{.source = "assumed: why"}.origin(), Origin::kAssumed);
  EXPECT_EQ(SourcedFigure{.source = "Table 4"}.origin(), Origin::kPublished);
}

TEST(PairCounts, AreThoseOfRowsCountedOneByOne) {
  for (const auto& [first, rows] : {std::pair<int64_t, int64_t>{0, 1}, {0, 7}, {512, 512}}) {
    double visible = 0;
    double rectangle = 0;
    for (int64_t row = first; row < first + rows; ++row) {
      visible += static_cast<double>(row + 1);
      rectangle += static_cast<double>(first + rows);
    }
    const PairCounts pairs = count_pairs(first, rows, 1);
    EXPECT_EQ(pairs.visible, visible);
    EXPECT_EQ(pairs.rectangle, rectangle);
    EXPECT_EQ(pairs.kept, visible);
  }
}

/// The published counters of what sparse layers kept, keep 0.2, two dense layers of 28, one of 24.
TEST(PairCounts, KeepThePublishedShares) {
  struct Row {
    const char* shape;
    int64_t dense_layers;
    int64_t tokens;
    double share;
  };
  for (const Row& row : {Row{"qwen2.5-1.5b", 2, 1024, 0.139438},
                         {"qwen2.5-1.5b", 2, 4096, 0.138706},
                         {"qwen1.5-1.8b", 1, 2048, 0.165706},
                         {"qwen1.5-0.5b", 1, 1024, 0.166193}}) {
    const double share =
        sparse_share(parse_shape(row.shape), {.keep = 0.2, .dense_layers = row.dense_layers});
    const PairCounts pairs = count_pairs(0, row.tokens, share);
    EXPECT_NEAR(pairs.kept / pairs.visible, row.share, 2e-6) << row.shape << " " << row.tokens;
  }
}

TEST(Prediction, OfPublishedLaunchesByHand) {
  const Prediction p =
      predict_prefill(simple_soc(), simple_shape(), simple_options(Launches::kPublished));
  EXPECT_DOUBLE_EQ(p.sparse_share, 0.25);
  EXPECT_EQ(p.chunks, 1);
  // 36864 weights, 128 tokens, 2 operations.
  EXPECT_DOUBLE_EQ(p.dense_layer.linear_ns, 9437184);
  EXPECT_DOUBLE_EQ(p.sparse_layer.linear_ns, 9437184);
  // 2 heads · 128 · 128 pairs · 10 ns, two cores.
  EXPECT_DOUBLE_EQ(p.dense_layer.dense_attention_ns, 163840);
  EXPECT_EQ(p.sparse_layer.dense_attention_ns, 0);
  // 2 heads · 128 rows · 32 · (5 bytes for a query, 3 for a key).
  EXPECT_DOUBLE_EQ(p.sparse_layer.quantise_ns, 65536);
  // 8256 visible pairs; 0.25 of them and half a key per row are kept; two heads, two cores.
  EXPECT_DOUBLE_EQ(p.sparse_layer.select_ns, 8256 * 2);
  EXPECT_DOUBLE_EQ(p.sparse_layer.attend_ns, 2128 * 4 * 32);
  // The CPU waits for the whole launch: 1 ms and 2 heads · 2 · 128 · 128 · 32 operations.
  EXPECT_DOUBLE_EQ(p.sparse_layer.waiting_ns, 3097152);
  EXPECT_EQ(p.npu.launches, 2);
  EXPECT_DOUBLE_EQ(p.npu.launch_ns, 2 * 1e6);
  EXPECT_DOUBLE_EQ(p.npu.pilot_ns, 2 * 2097152);
  EXPECT_DOUBLE_EQ(p.prompt.output_ns, 64000);
  EXPECT_DOUBLE_EQ(p.ttft_ns(),
                   3 * 9437184.0 + 163840 + 64000 + 2 * (65536 + 16512 + 272384 + 3097152.0));
}

TEST(Prediction, OfEngineLaunchesByHand) {
  const Prediction p =
      predict_prefill(simple_soc(), simple_shape(), simple_options(Launches::kEngine));
  // One KV head with the rows of two query heads: a launch, and one core that does all of it.
  EXPECT_EQ(p.npu.launches, 2);
  EXPECT_DOUBLE_EQ(p.npu.pilot_ns, 2 * 2.0 * 256 * 128 * 32);
  EXPECT_DOUBLE_EQ(p.sparse_layer.quantise_ns, 2 * 128 * 32 * 5 + 128 * 32 * 3);
  EXPECT_DOUBLE_EQ(p.sparse_layer.select_ns, 16512);
  EXPECT_DOUBLE_EQ(p.sparse_layer.attend_ns, 272384);
  EXPECT_DOUBLE_EQ(p.sparse_layer.waiting_ns, 3097152 + 16512 + 272384);
}

TEST(Prediction, OfAnEstimateOnTheCpuAndOfDenseByHand) {
  PrefillOptions options = simple_options(Launches::kEngine);
  options.pilot = Pilot::kCpu;
  const Prediction cpu = predict_prefill(simple_soc(), simple_shape(), options);
  EXPECT_DOUBLE_EQ(cpu.sparse_layer.estimate_ns, 8256 * 2 * 32);
  EXPECT_EQ(cpu.sparse_layer.waiting_ns, 0);
  EXPECT_EQ(cpu.npu.launches, 0);
  options.attention = Attention::kDense;
  const Prediction dense = predict_prefill(simple_soc(), simple_shape(), options);
  EXPECT_EQ(dense.dense_layers, 3);
  EXPECT_DOUBLE_EQ(dense.ttft_ns(), 3 * (9437184.0 + 163840) + 64000);
}

TEST(Prediction, LinearLayersTakeAtLeastReadingTheWeights) {
  SocModel soc = simple_soc();
  soc.rates.linear_operations_per_second = 1e15;
  const Prediction p = predict_prefill(soc, simple_shape(), simple_options(Launches::kPublished));
  EXPECT_DOUBLE_EQ(p.dense_layer.linear_ns, 36864);
}

/// Calls `check` with each of many prompts.
template <typename Check>
void for_many_prompts(const Check& check) {
  const SocModel soc = shipped();
  for (const char* name : {"qwen2.5-1.5b", "qwen1.5-0.5b", "phonelm-1.5b", "qwen2.5-7b"}) {
    for (const Launches launches : {Launches::kEngine, Launches::kPublished}) {
      for (const Pilot pilot : {Pilot::kOperator, Pilot::kGraph}) {
        for (const int64_t context : {65, 512, 3000, 9000}) {
          for (const int cores : {1, 3}) {
            check(soc, parse_shape(name),
                  PrefillOptions{.context = context,
                                 .chunk = 384,
                                 .pilot = pilot,
                                 .launches = launches,
                                 .cores = cores,
                                 .dense_cores = cores});
          }
        }
      }
    }
  }
}

TEST(Prediction, PlannedIsNoLaterThanFifoAndFifoThanNoPipeline) {
  for_many_prompts([](const SocModel& soc, const ModelShape& shape, PrefillOptions options) {
    const auto ttft = [&](PipelineMode pipeline) {
      options.pipeline = pipeline;
      return predict_prefill(soc, shape, options).ttft_ns();
    };
    const double fifo = ttft(PipelineMode::kFifo);
    EXPECT_LE(ttft(PipelineMode::kPlanned), fifo * (1 + kRounding));
    EXPECT_LE(fifo, ttft(PipelineMode::kOff) * (1 + kRounding));
  });
}

TEST(Prediction, SumsAddUp) {
  for_many_prompts([](const SocModel& soc, const ModelShape& shape, const PrefillOptions& options) {
    const Prediction p = predict_prefill(soc, shape, options);
    EXPECT_EQ(p.dense_layers + p.sparse_layers, shape.layers);
    EXPECT_EQ(p.chunks, (options.context + options.chunk - 1) / options.chunk);
    const double layers = static_cast<double>(p.dense_layers) * p.dense_layer.total_ns() +
                          static_cast<double>(p.sparse_layers) * p.sparse_layer.total_ns();
    EXPECT_NEAR(layers + p.prompt.output_ns, p.ttft_ns(), p.ttft_ns() * kRounding);
    EXPECT_NEAR(p.prompt.linear_ns + p.prompt.attention_ns() + p.prompt.output_ns, p.ttft_ns(),
                p.ttft_ns() * kRounding);
    // The NPU cannot be busy for longer than the sparse layers' attention lasts.
    const double sparse = static_cast<double>(p.sparse_layers) *
                          (p.sparse_layer.attention_ns() - p.sparse_layer.quantise_ns);
    EXPECT_LE(p.npu.launch_ns + p.npu.pilot_ns, sparse * (1 + kRounding));
  });
}

TEST(Prediction, GrowsWithTheContextAndShrinksWithTheNpusSpeed) {
  const SocModel soc = shipped();
  const ModelShape shape = parse_shape("qwen2-1.5b");
  for (const PipelineMode pipeline : {PipelineMode::kOff, PipelineMode::kFifo}) {
    for (const Launches launches : {Launches::kEngine, Launches::kPublished}) {
      PrefillOptions options = {.launches = launches, .pipeline = pipeline};
      double before = 0;
      for (const int64_t context : {1, 100, 512, 513, 1024, 4096, 8192, 40000}) {
        options.context = context;
        const double ttft = predict_prefill(soc, shape, options).ttft_ns();
        EXPECT_GT(ttft, before) << context;
        before = ttft;
      }
      for (const double speed : {1.5, 4.0, 100.0}) {
        options.npu_speed = speed;
        const double ttft = predict_prefill(soc, shape, options).ttft_ns();
        EXPECT_LT(ttft, before) << speed;
        before = ttft;
      }
    }
  }
}

TEST(Prediction, SaysWhatNoPublishedTimeCovers) {
  const SocModel soc = shipped();
  const ModelShape shape = parse_shape("qwen2-1.5b");
  EXPECT_TRUE(predict_prefill(soc, shape, {}).extrapolations.empty());
  EXPECT_EQ(predict_prefill(soc, shape, {.context = 4097}).extrapolations.size(), 1U);
  EXPECT_EQ(predict_prefill(soc, parse_shape("qwen2.5-7b"), {}).extrapolations.size(), 1U);
  EXPECT_EQ(predict_prefill(soc, shape, {.pilot = Pilot::kCpu, .cores = 1, .npu_speed = 2})
                .extrapolations.size(),
            3U);
}

TEST(Prediction, CountsItsChunksAndStopsWhenToldTo) {
  std::vector<int64_t> calls;
  const auto step = [&](int64_t done, int64_t all) {
    EXPECT_EQ(all, 3);
    calls.push_back(done);
    if (calls.size() == 5) throw Failure("stop");
  };
  const PrefillOptions options = {.context = 1025};
  predict_prefill(shipped(), parse_shape("qwen2-1.5b"), options, step);
  EXPECT_EQ(calls, (std::vector<int64_t>{0, 1, 2}));
  EXPECT_THROW(predict_prefill(shipped(), parse_shape("qwen2-1.5b"), options, step), Failure);
}

TEST(Prediction, BadOptionsAreRefused) {
  const SocModel soc = shipped();
  const auto refused = [&](const PrefillOptions& options, const std::string& part,
                           const std::string& shape = "qwen2-1.5b") {
    const std::string message =
        failure_of([&] { predict_prefill(soc, parse_shape(shape), options); });
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  refused({.context = 0}, "1,048,576 tokens");
  refused({.context = kMostContext + 1}, "1,048,576 tokens");
  refused({.chunk = 63}, "between 64 and");
  refused({.keep = 0}, "in (0, 1]");
  refused({.keep = NAN}, "in (0, 1]");
  refused({.keep = 0.05}, "give a larger --keep");
  refused({.dense_layers = 28}, "28 layers");
  refused({.dense_layers = -1}, "not negative");
  refused({.cores = 0}, "between 1 and 5");
  refused({.dense_cores = 6}, "between 1 and 5");
  refused({.core = CoreKind::kSmall}, "between 1 and 2");
  refused({.fuse_heads = -1}, "negative");
  refused({.npu_speed = 0}, "speed");
  refused({.npu_speed = NAN}, "speed");
  refused({.launch_ms = NAN}, "launch");
  refused({}, "takes no launch", "8/8/512/28/512/512");   // head dim
  refused({}, "takes no launch", "640/2/64/28/512/512");  // rows of one list
}

TEST(CallSchedule, EndsWhenTheOrderIsPredictedTo) {
  for_many_prompts([](const SocModel& soc, const ModelShape& shape, const PrefillOptions& options) {
    const int64_t rows = (options.context - 1) % options.chunk + 1;
    const CallWork call = cut_call(soc, shape, options, options.context - rows, rows);
    for (const PipelineMode pipeline :
         {PipelineMode::kOff, PipelineMode::kFifo, PipelineMode::kPlanned}) {
      const TimelineCall timeline = schedule_call(call, pipeline, options.cores);
      const double expected = call.quantise_ns + call_makespan(call, pipeline);
      EXPECT_NEAR(static_cast<double>(timeline.end_ns), expected, 1 + expected * kRounding);
      // Every lane of the CPU is there, and no lane does two things at once.
      for (Unit lane = kTraceDeviceLane; lane < options.cores; ++lane) {
        int64_t end = 0;
        int64_t events = 0;
        for (const TimelineEvent& event : timeline.events) {
          if (event.unit != lane) continue;
          EXPECT_GE(event.start_ns, end);
          end = event.end_ns;
          ++events;
        }
        EXPECT_GT(events, 0) << lane;
        EXPECT_LE(end, timeline.end_ns);
      }
    }
  });
}

TEST(CallCut, EveryRowAndHeadIsComputedOnce) {
  for_many_prompts([](const SocModel& soc, const ModelShape& shape, const PrefillOptions& options) {
    const int64_t rows = (options.context - 1) % options.chunk + 1;
    const int64_t first = options.context - rows;
    const CallWork call = cut_call(soc, shape, options, first, rows);
    const double workers = options.launches == Launches::kPublished ? options.cores : 1;
    double select = 0;
    for (const LaunchWork& launch : call.launches) {
      select += launch.select_ns * workers;
      EXPECT_LE(launch.job.heads, soc.limits.max_heads);
      EXPECT_GT(launch.launches, 0);
      EXPECT_DOUBLE_EQ(launch.job.cpu_ns, launch.select_ns + launch.attend_ns);
    }
    const double expected = count_pairs(first, rows, 1).visible * static_cast<double>(shape.heads) *
                            soc.rates.select_ns;
    EXPECT_NEAR(select, expected, expected * kRounding);
  });
}

}  // namespace
}  // namespace shadowattn::tool::simulate
