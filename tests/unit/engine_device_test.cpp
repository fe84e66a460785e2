// The engine with a device's estimate: the right keys, the same bits however the work is cut, and
// the CPU for what the device does not take.
#include <gtest/gtest.h>

#include "changed_device.h"
#include "device_selection_reference.h"
#include "kept_keys.h"
#include "kernel_param.h"
#include "q8_0_tensor.h"
#include "shadow_cases.h"

namespace shadowattn {
namespace {

using test::attend;
using test::bits;
using test::causal;
using test::ChangedDevice;
using test::Content;
using test::Granularity;
using test::Kept;
using test::Layout;
using test::make_device_engine;
using test::make_engine;
using test::Problem;
using test::ShadowCase;
using test::Shape;
using test::StrictDevice;

constexpr ElementType kF16 = ElementType::kF16;
constexpr ElementType kF32 = ElementType::kF32;

DeviceOptions npu_sim() {
  DeviceOptions options;
  options.name = "npu-sim";
  options.timeout_ms = 300000;  // a safety net
  return options;
}

/// An option, or limits of a device, that selections must survive.
struct DeviceCase {
  std::string label;
  void (*choose)(DeviceOptions& options) = [](DeviceOptions&) {};
  /// Not null: "cpu" with these limits.
  void (*limit)(DeviceCapabilities& capabilities) = nullptr;
};

Engine engine_for(EngineOptions options, const DeviceCase& device) {
  if (device.limit == nullptr) return make_device_engine(options);
  return make_device_engine(options, std::make_unique<StrictDevice>(DeviceOptions(), device.limit));
}

std::vector<DeviceCase> device_cases() {
  return {
      {"row_scales_off", [](DeviceOptions& o) { o.row_scales = false; }},
      {"not_centred", [](DeviceOptions& o) { o.center_keys = false; }},
      {"exact",
       [](DeviceOptions& o) {
         o.scale_rule = ScaleRule::kExact;
         o.row_scales = false;
       }},
      {"nearest",
       [](DeviceOptions& o) {
         o.scale_rule = ScaleRule::kNearest;
         o.row_scales = false;
         o.query_scales = {0.001F, 0.012F, 0.5F};
         o.key_scales = {0.003F, 0.02F, 0.05F};
       }},
      {"clipped_and_saturated",
       [](DeviceOptions& o) {
         o.scale_rule = ScaleRule::kExact;
         o.row_scales = false;
         o.clip_share = 0.3;
         o.saturated_share = 0.2;
       }},
      {"own_grid",
       [](DeviceOptions& o) {
         o.key_scales = {0.01F, 0.04F, 100.0F};
         o.clip_share = 0.05;
         o.saturated_share = 0.0;
       }},
      {"one_head_at_a_time",
       [](DeviceOptions& o) {
         o.fuse_heads = 1;
         o.pipeline = PipelineMode::kOff;
       }},
      {"any_shape", [](DeviceOptions&) {}, [](DeviceCapabilities&) {}},
      {"small_tiles", [](DeviceOptions&) {},
       [](DeviceCapabilities& c) {
         c.max_keys = 128;
         c.row_multiple = 16;
         c.max_heads = 2;
       }},
      {"tiles_of_32_keys", [](DeviceOptions&) {},
       [](DeviceCapabilities& c) {
         c.key_multiple = 32;
         c.max_keys = 96;
       }},
      {"tiles_of_96_keys", [](DeviceOptions&) {},
       [](DeviceCapabilities& c) {
         c.key_multiple = 96;
         c.max_keys = 500;
       }},
      {"one_graph_and_a_short_queue", [](DeviceOptions&) {},
       [](DeviceCapabilities& c) {
         c.max_keys = 256;
         c.row_multiple = 4;
         c.max_graphs = 1;
         c.queue_depth = 5;
       }},
  };
}

/// Beside those of shadow_cases.h: groups of heads, head dims, several tiles of rows.
std::vector<ShadowCase> more_cases() {
  return {
      {"seven_heads", {14, 2, 40, 300, 128, 64, kF16}, causal},
      {"mha", {3, 3, 70, 260, 64, 32, kF32}, causal},
      {"dim_256", {4, 2, 9, 200, 256, 32, kF16, Layout::kRowsFirst, Content::kOutliers}, causal},
      {"few_keys", {4, 2, 3, 37, 32, 32, kF16}, causal},
      {"one_row_plain", {4, 2, 1, 333, 48, 32, kF16}, causal},
      {"shifted_mean",
       {4, 2, 20, 700, 32, 32, kF32},
       [](Problem& p) {
         causal(p);
         for (int64_t j = 0; j < 700; ++j) {
           for (int64_t d = 0; d < 32; d += 3) p.key.set(1, j, d, 9.0 + 0.1 * double((j * d) % 7));
         }
       }},
  };
}

struct Case {
  std::string label;
  ShadowCase shadow;
  DeviceCase device;

  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.label; }
};

std::vector<Case> cases() {
  std::vector<Case> all;
  const auto add = [&](const ShadowCase& shadow, const DeviceCase& device, const Granularity& g) {
    Case c{shadow.label + "_" + g.label + "_" + device.label, shadow, device};
    c.shadow.options.rows_per_list = g.rows;
    c.shadow.options.share_heads = g.share;
    all.push_back(c);
  };
  std::vector<ShadowCase> shadows = test::shadow_cases();
  for (const auto& more : {test::long_cases(), more_cases()}) {
    shadows.insert(shadows.end(), more.begin(), more.end());
  }
  for (const ShadowCase& shadow : shadows) {
    for (const Granularity& g : test::kGranularities) add(shadow, {"default"}, g);
  }
  const std::set<std::string> few = {
      "causal_outliers_gaps_f32", "whole_prompt", "alibi",       "shifted_context", "one_row",
      "scale_negative",           "long_window",  "seven_heads", "few_keys",        "shifted_mean"};
  for (const ShadowCase& shadow : shadows) {
    if (few.count(shadow.label) == 0) continue;
    for (const DeviceCase& device : device_cases()) {
      add(shadow, device, test::kGranularities[0]);
      add(shadow, device, test::kGranularities[3]);
    }
  }
  return all;
}

/// What CallReport says of the device must add up, whatever it did.
void expect_sums(const Problem& p, const CallReport& report, bool prompt) {
  const DeviceReport& d = report.device;
  const int64_t estimated = d.rows + d.cpu_rows;
  if (prompt) {
    EXPECT_LE(estimated, p.shape.rows * p.shape.kv_heads);
    EXPECT_GT(estimated, 0);
  } else {
    EXPECT_EQ(estimated, p.shape.rows * p.shape.kv_heads);
  }
  EXPECT_EQ(d.launches > 0, d.rows > 0);
  EXPECT_LE(d.clipped_keys, d.key_elements);
  EXPECT_LE(d.clipped_queries, d.query_elements);
  EXPECT_LE(d.saturated_scores, d.sampled_scores);
  EXPECT_LE(d.tied_kept, d.sampled_kept);
  EXPECT_LE(d.sampled_kept, d.sampled_scores);
  EXPECT_EQ(d.checked_scores > 0, d.launches > 0);
}

void expect_right_keys(Engine& engine, const Problem& p, const EngineOptions& options,
                       int64_t* on_device) {
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  const Visibility visibility(p.call, *executor);
  const CallPlan plan =
      plan_call(test::fixed_keep(options), visibility, p.shape.heads / p.shape.kv_heads);
  const test::DeviceSelectionReference reference(p.call, options);
  test::expect_equal(test::kept_keys(engine, p),
                     test::reference_selection(p.call, options, plan, reference));
  *on_device = reference.on_device();
}

class EngineDeviceTest : public testing::TestWithParam<Case> {};

TEST_P(EngineDeviceTest, KeepsTheRightKeys) {
  const ShadowCase& shadow = GetParam().shadow;
  Problem p(shadow.shape);
  shadow.prepare(p);
  EngineOptions options = shadow.options;
  options.threads = 2;
  options.device = npu_sim();
  GetParam().device.choose(options.device);
  Engine engine = engine_for(options, GetParam().device);
  int64_t on_device = 0;
  expect_right_keys(engine, p, options, &on_device);

  const CallReport report = attend(engine, p);
  EXPECT_EQ(report.device.note, "");
  EXPECT_EQ(report.device.refused_tiles, 0);
  EXPECT_EQ(report.device.out_of_grid_heads, p.shape.kv_heads - on_device);
  expect_sums(p, report, shadow.prompt || shadow.label == "rows_that_see_nothing");
  if (on_device == p.shape.kv_heads && !shadow.prompt) {
    EXPECT_EQ(report.device.cpu_rows, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Masks, EngineDeviceTest, testing::ValuesIn(cases()),
                         [](const auto& param) { return param.param.label; });

TEST(EngineDevice, TakesKeysOfQ80) {
  for (const Granularity& g : test::kGranularities) {
    Problem p({4, 2, 13, 300, 64, 32, kF32});
    causal(p);
    const auto keys = test::Q8Tensor::random(2, 300, 64, Layout::kRowsFirst, 5, Content::kOutliers);
    p.call.key = keys.view();
    p.call.scale /= 8;  // so that no weight is too small to be seen
    EngineOptions options = {
        .keep = 0.2, .keep_floor = 0, .rows_per_list = g.rows, .share_heads = g.share};
    options.device = npu_sim();
    Engine engine = make_device_engine(options);
    int64_t on_device = 0;
    expect_right_keys(engine, p, options, &on_device);
    EXPECT_EQ(on_device, 2);
    EXPECT_EQ(attend(engine, p).device.cpu_rows, 0);
  }
}

// --- The same bits however the work is cut -------------------------------------------------------

class EngineDeviceBits : public testing::TestWithParam<Granularity> {};

Problem large_problem() {
  Problem p({8, 4, 90, 400, 32, 48, kF16, Layout::kRowsFirst, Content::kPeaky});
  causal(p);
  return p;
}

EngineOptions options_of(const Granularity& g) {
  EngineOptions options = {.keep = 0.1,
                           .keep_floor = 0,
                           .sink = 2,
                           .recent = 8,
                           .rows_per_list = g.rows,
                           .share_heads = g.share};
  options.device = npu_sim();
  return options;
}

TEST_P(EngineDeviceBits, PipelineFusingAndThreadsDoNotMatter) {
  Problem p = large_problem();
  EngineOptions options = options_of(GetParam());
  Engine first = make_device_engine(options);
  const CallReport expected = attend(first, p);
  EXPECT_EQ(expected.device.rows, 4 * 90);
  const std::vector<uint32_t> expected_bits = bits(p);
  for (const int threads : {1, 2, 3}) {
    for (const PipelineMode mode :
         {PipelineMode::kOff, PipelineMode::kFifo, PipelineMode::kPlanned}) {
      for (const int fuse : {static_cast<int>(mode), threads - 1}) {
        options.threads = threads;
        options.device.pipeline = mode;
        options.device.fuse_heads = fuse;
        Engine engine = make_device_engine(options);
        for (int call = 0; call < 2; ++call) {  // the second one is planned
          const CallReport report = attend(engine, p);
          ASSERT_EQ(bits(p), expected_bits) << threads << " " << int(mode) << " " << fuse;
          EXPECT_EQ(report.kept_pairs, expected.kept_pairs);
          EXPECT_EQ(report.device.rows, expected.device.rows);
          EXPECT_EQ(report.device.query_elements, expected.device.query_elements);
          EXPECT_EQ(report.device.clipped_keys, expected.device.clipped_keys);
        }
      }
    }
  }
}

TEST_P(EngineDeviceBits, LimitsDoNotMatter) {
  Problem p = large_problem();
  const EngineOptions options = options_of(GetParam());
  Engine first = make_device_engine(options);
  attend(first, p);
  const std::vector<uint32_t> expected = bits(p);
  const ChangedDevice::Change changes[] = {
      [](DeviceCapabilities&) {},
      [](DeviceCapabilities& c) { c.max_graphs = 1; },
      [](DeviceCapabilities& c) { c.max_keys = 64; },
      [](DeviceCapabilities& c) { c.max_tensor_bytes = 64 * 256; },
      [](DeviceCapabilities& c) { c.max_memory_bytes = 400 << 10; },
      [](DeviceCapabilities& c) {
        c.queue_depth = 1;
        c.max_keys = 384;
      },
  };
  for (const auto& change : changes) {
    for (const char* name : {"cpu", "npu-sim"}) {
      DeviceOptions inner;
      inner.name = name;
      inner.timeout_ms = 300000;
      Engine engine = make_device_engine(options, std::make_unique<StrictDevice>(inner, change));
      for (int call = 0; call < 3; ++call) {
        const CallReport report = attend(engine, p);
        EXPECT_EQ(report.device.note, "") << &change - changes;
        EXPECT_EQ(report.device.rows, 4 * 90) << &change - changes;
        ASSERT_EQ(bits(p), expected) << name << " " << &change - changes;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Granularities, EngineDeviceBits, testing::ValuesIn(test::kGranularities),
                         [](const auto& param) { return std::string(param.param.label); });

TEST(EngineDevice, GraphsAreReusedAndForgotten) {
  EngineOptions options = options_of(test::kGranularities[3]);
  Problem p = large_problem();
  Engine engine = make_device_engine(options);
  EXPECT_GT(attend(engine, p).device.compiled_graphs, 0);
  const CallReport again = attend(engine, p);
  EXPECT_EQ(again.device.compiled_graphs, 0);
  EXPECT_EQ(again.device.released_graphs, 0);
  options.device.max_graphs = 1;
  Engine churning = make_device_engine(options);
  Problem other({8, 4, 20, 200, 32, 48, kF16});
  causal(other);
  for (int call = 0; call < 3; ++call) {
    EXPECT_GT(attend(churning, p).device.compiled_graphs, 0);
    const CallReport report = attend(churning, other);
    EXPECT_GT(report.device.released_graphs, 0);
    EXPECT_EQ(report.device.cpu_rows, 0);
  }
}

// --- What the device does not take ---------------------------------------------------------------

std::vector<uint32_t> bits_of_head(const Problem& p, int64_t head) {
  const std::vector<uint32_t> all = bits(p);
  const auto size = all.size() / static_cast<size_t>(p.shape.heads);
  const auto first = all.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(head) * size);
  return {first, first + static_cast<std::ptrdiff_t>(size)};
}

/// Heads of KV heads in `on_cpu` have the bits of an engine without device, the others those of
/// `device_only`.
void expect_heads(const Problem& got, const Problem& cpu, const Problem& device,
                  const std::set<int64_t>& on_cpu) {
  const int64_t group = got.shape.heads / got.shape.kv_heads;
  for (int64_t h = 0; h < got.shape.heads; ++h) {
    const Problem& expected = on_cpu.count(h / group) != 0 ? cpu : device;
    EXPECT_EQ(bits_of_head(got, h), bits_of_head(expected, h)) << "head " << h;
  }
}

EngineOptions without_device(EngineOptions options) {
  options.device = DeviceOptions();
  return options;
}

TEST(EngineDevice, HeadsOutOfTheGridGoToTheCpu) {
  for (const Granularity& g : test::kGranularities) {
    const EngineOptions options = options_of(g);
    const auto fill = [](Problem& p, bool spoil) {
      causal(p);
      if (!spoil) return;
      for (int64_t j = 0; j < 300; ++j) p.key.set(1, j, 3, j % 2 == 0 ? 5e5 : -5e5);
      p.call.scale = 0.01F;
    };
    const Shape shape{6, 3, 40, 300, 32, 32, kF32};
    Problem plain(shape);
    fill(plain, false);
    plain.call.scale = 0.01F;
    Engine device = make_device_engine(options);
    attend(device, plain);
    Problem cpu(shape);
    fill(cpu, true);
    Engine reference = make_engine(without_device(options));
    attend(reference, cpu);
    Problem p(shape);
    fill(p, true);
    for (int call = 0; call < 2; ++call) {
      const CallReport report = attend(device, p);
      EXPECT_EQ(report.device.out_of_grid_heads, 1);
      EXPECT_EQ(report.device.rows, 2 * 40);
      EXPECT_EQ(report.device.cpu_rows, 40);
      EXPECT_EQ(report.device.note, "");
      expect_heads(p, cpu, plain, {1});
    }
  }
}

TEST(EngineDevice, NonFiniteHeadsGoToTheCpu) {
  for (const double value : {test::kNan, test::kInfinity, -test::kInfinity}) {
    for (const bool in_key : {false, true}) {
      const EngineOptions options = options_of(test::kGranularities[3]);
      const Shape shape{6, 3, 40, 300, 32, 32, kF32};
      const auto spoil = [&](Problem& p) {
        causal(p);
        if (in_key) p.key.set(2, 299, 31, value);
        if (!in_key) p.query.set(5, 0, 0, value);
      };
      Problem plain(shape);
      causal(plain);
      Problem cpu(shape);
      spoil(cpu);
      Problem p(shape);
      spoil(p);
      Engine reference = make_engine(without_device(options));
      const CallReport expected = attend(reference, cpu);
      Engine device = make_device_engine(options);
      attend(device, plain);
      const CallReport report = attend(device, p);
      EXPECT_EQ(report.nonfinite_rows, expected.nonfinite_rows);
      EXPECT_GT(report.nonfinite_rows, 0);
      EXPECT_EQ(report.device.rows, 2 * 40);
      EXPECT_EQ(report.device.out_of_grid_heads, 0);
      expect_heads(p, cpu, plain, {2});
    }
  }
}

TEST(EngineDevice, EverythingNonFiniteIsDense) {
  Problem p({4, 2, 9, 200, 32, 32, kF32});
  causal(p);
  p.key.fill(test::kNan);
  Engine device = make_device_engine(options_of(test::kGranularities[3]));
  const CallReport report = attend(device, p);
  EXPECT_EQ(report.dense_reason, DenseReason::kNonFinite);
  EXPECT_EQ(report.device.launches, 0);
}

/// Nothing of the call fits the device: the CPU does all of it and a note says why; the device is
/// not given up.
void expect_all_on_cpu(const ChangedDevice::Change& change, const EngineOptions& options) {
  Problem p = large_problem();
  Engine reference = make_engine(without_device(options));
  const CallReport expected = attend(reference, p);
  const std::vector<uint32_t> expected_bits = bits(p);
  Engine engine =
      make_device_engine(options, std::make_unique<ChangedDevice>(DeviceOptions(), change));
  for (int call = 0; call < 2; ++call) {
    const CallReport report = attend(engine, p);
    EXPECT_EQ(bits(p), expected_bits);
    EXPECT_EQ(report.kept_pairs, expected.kept_pairs);
    EXPECT_EQ(report.lists, expected.lists);
    EXPECT_EQ(report.device.rows, 0);
    EXPECT_EQ(report.device.cpu_rows, 4 * 90);
    EXPECT_NE(report.device.note, "");
    EXPECT_EQ(report.device.note.find("not used any more"), std::string::npos)
        << report.device.note;
  }
}

TEST(EngineDevice, WhatFitsNoDeviceGoesToTheCpu) {
  const ChangedDevice::Change changes[] = {
      [](DeviceCapabilities& c) { c.max_rows = 8; },
      [](DeviceCapabilities& c) { c.max_rows = 0; },
      [](DeviceCapabilities& c) { c.max_keys = 32; },
      [](DeviceCapabilities& c) { c.max_keys = 0; },
      [](DeviceCapabilities& c) { c.key_multiple = INT32_MAX; },
      [](DeviceCapabilities& c) { c.max_dim = 16; },
      [](DeviceCapabilities& c) { c.dim_multiple = 64; },
      [](DeviceCapabilities& c) { c.dim_multiple = 0; },
      [](DeviceCapabilities& c) { c.key_multiple = 0; },
      [](DeviceCapabilities& c) { c.row_multiple = 0; },
      [](DeviceCapabilities& c) { c.max_heads = 0; },
      [](DeviceCapabilities& c) { c.max_tensor_bytes = 1000; },
      [](DeviceCapabilities& c) { c.max_memory_bytes = 30000; },
      [](DeviceCapabilities& c) { c.max_memory_bytes = 0; },
      [](DeviceCapabilities& c) { c.max_graphs = 0; },
      [](DeviceCapabilities& c) { c.max_graph_bytes = 0; },
      [](DeviceCapabilities& c) {
        c.queue_depth = 1;
        c.max_keys = 64;
      },
  };
  for (const auto& change : changes) {
    SCOPED_TRACE(&change - changes);
    expect_all_on_cpu(change, options_of(test::kGranularities[3]));
  }
}

TEST(EngineDevice, ADeviceThatCannotBeStartedIsNoError) {
  for (const char* name : {"hexagon", "npu-sim"}) {
    EngineOptions options = options_of(test::kGranularities[3]);
    options.device.name = name;
    options.device.soc = "/nonexistent/soc";
    Problem p = large_problem();
    Engine reference = make_engine(without_device(options));
    attend(reference, p);
    const std::vector<uint32_t> expected = bits(p);
    Engine engine = make_device_engine(options);
    for (int call = 0; call < 2; ++call) {
      const CallReport report = attend(engine, p);
      EXPECT_EQ(bits(p), expected);
      EXPECT_EQ(report.device.cpu_rows, 4 * 90);
      EXPECT_NE(report.device.note.find("cannot be used"), std::string::npos);
    }
  }
}

TEST(EngineDevice, DenseCallsDoNotAskForIt) {
  EngineOptions options = options_of(test::kGranularities[3]);
  options.device.name = "hexagon";
  options.mode = Mode::kDense;
  Problem p = large_problem();
  Engine engine = make_device_engine(options);
  EXPECT_EQ(attend(engine, p).device.note, "");
}

TEST(EngineDevice, BadOptionsAreRefused) {
  const auto refused = [](void (*change)(DeviceOptions&)) {
    EngineOptions options;
    options.device.name = "npu-sim";
    change(options.device);
    return !Engine::create(options).ok();
  };
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.name = ""; }));
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.name = "gpu"; }));
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.clip_share = 1.1; }));
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.clip_share = test::kNan; }));
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.saturated_share = -0.1; }));
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.key_scales = {1.0F, 1.0F}; }));
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.key_scales = {-1.0F}; }));
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.query_scales = {0.0F}; }));
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.query_scales = {1e-40F}; }));
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.query_scales = {float(test::kInfinity)}; }));
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.query_scales = {float(test::kNan)}; }));
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.fuse_heads = -1; }));
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.timeout_ms = -1; }));
  EXPECT_TRUE(refused([](DeviceOptions& o) { o.fault_at = -1; }));
}

}  // namespace
}  // namespace shadowattn
