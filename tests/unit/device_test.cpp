// Devices: bits, limits, order, threads that wait, ends in any state.
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "device_problem.h"

namespace shadowattn {
namespace {

using test::LaunchProblem;
using test::net;

constexpr GraphSpec kSmall{2, 16, 64, 32, {.mantissa = 140, .shift = 5}};

/// Devices that every build has.
class DeviceTest : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Device> open() const { return test::open({.name = GetParam()}); }
};

INSTANTIATE_TEST_SUITE_P(Devices, DeviceTest, testing::Values("cpu", "npu-sim"),
                         [](const auto& device) {
                           return std::string(device.param) == "cpu" ? "cpu" : "npu_sim";
                         });

TEST_P(DeviceTest, SelfTestPasses) {
  const auto device = open();
  Status s = self_test(*device);
  EXPECT_TRUE(s.ok()) << s.message();
  s = self_test(*device);  // nothing stays behind
  EXPECT_TRUE(s.ok()) << s.message();
}

TEST_P(DeviceTest, EveryScoreIsTheReferences) {
  const auto device = open();
  GraphId id = 0;
  for (const int32_t dim : {16, 48, 64, 128, 240, 256}) {
    for (const auto& [heads, rows, keys] :
         {std::tuple{1, 16, 64}, std::tuple{3, 48, 320}, std::tuple{1, 112, 576}}) {
      for (const bool extreme : {false, true}) {
        const Requantisation r{.mantissa = 128 + id % 128, .shift = id % 16};
        LaunchProblem problem({heads, rows, keys, dim, r}, static_cast<uint64_t>(id));
        const Status s = test::run(*device, id, problem, extreme);
        ASSERT_TRUE(s.ok()) << s.message();
        for (int32_t h = 0; h < heads; ++h) EXPECT_EQ(problem.wrong_scores(*device, h), 0) << dim;
        ++id;
      }
    }
  }
}

TEST_P(DeviceTest, EveryShiftAndLargeMantissas) {
  const auto device = open();
  GraphId id = 0;
  const auto check = [&](Requantisation r) {
    LaunchProblem problem({1, 16, 64, 16, r}, 7);
    ASSERT_TRUE(test::run(*device, id++, problem).ok());
    EXPECT_EQ(problem.wrong_scores(*device, 0), 0) << r.mantissa << " " << r.shift;
  };
  for (int32_t shift = 0; shift <= 15; ++shift) {
    check({.mantissa = 128, .shift = shift});
    check({.mantissa = 255, .shift = shift});
  }
  for (const int32_t mantissa : {256, 4097, 32767}) check({.mantissa = mantissa, .shift = 0});
}

TEST_P(DeviceTest, LimitsAreRefusedWithAReason) {
  const auto device = open();
  const DeviceCapabilities& c = device->capabilities();
  const auto expect_refused = [&](const GraphSpec& spec, const char* word) {
    const Status said = c.supports(spec);
    EXPECT_FALSE(said.ok()) << word;
    EXPECT_NE(said.message().find(word), std::string::npos) << said.message();
    const auto ticket = device->compile(1, spec);
    ASSERT_FALSE(ticket.ok());
    EXPECT_EQ(ticket.status().code(), said.code());
    EXPECT_EQ(ticket.status().message(), said.message());
  };
  const auto changed = [&](auto change) {
    GraphSpec spec = kSmall;
    change(spec);
    return spec;
  };
  for (const int32_t n : {0, -1, INT32_MIN}) {
    expect_refused(changed([&](GraphSpec& s) { s.heads = n; }), "heads");
    expect_refused(changed([&](GraphSpec& s) { s.rows = n; }), "rows");
    expect_refused(changed([&](GraphSpec& s) { s.keys = n; }), "keys");
    expect_refused(changed([&](GraphSpec& s) { s.dim = n; }), "dimensions");
  }
  expect_refused(changed([&](GraphSpec& s) { s.heads = c.max_heads + 1; }), "heads");
  expect_refused(changed([&](GraphSpec& s) { s.rows = c.max_rows + c.row_multiple; }), "rows");
  expect_refused(changed([&](GraphSpec& s) { s.keys = INT32_MAX; }), "keys");
  expect_refused(changed([&](GraphSpec& s) { s.dim = c.max_dim + c.dim_multiple; }), "dim");
  for (const Requantisation r :
       {Requantisation{127, 3}, Requantisation{256, 1}, Requantisation{32768, 0},
        Requantisation{128, 16}, Requantisation{128, -1}, Requantisation{-128, 0}}) {
    expect_refused(changed([&](GraphSpec& s) { s.requantisation = r; }), "mantissa");
  }
  if (c.row_multiple > 1) expect_refused(changed([](GraphSpec& s) { s.rows = 17; }), "multiples");
  if (c.key_multiple > 1) expect_refused(changed([](GraphSpec& s) { s.keys = 80; }), "multiples");
  if (c.dim_multiple > 1) expect_refused(changed([](GraphSpec& s) { s.dim = 40; }), "multiples");
  EXPECT_TRUE(c.supports(kSmall).ok());
  EXPECT_TRUE(device->compile(1, kSmall).ok());  // the refused ones left nothing
}

TEST(Capabilities, LargeTensorsAndGraphsAreRefusedWithoutOverflow) {
  DeviceCapabilities c;
  c.name = "large";
  c.max_heads = c.max_rows = c.max_keys = c.max_dim = INT32_MAX;
  c.max_tensor_bytes = int64_t{1} << 40;
  c.max_graph_bytes = 100;
  c.graph_bytes = [](const GraphSpec& spec) { return int64_t{spec.heads}; };
  const Requantisation r{.mantissa = 128, .shift = 0};
  EXPECT_TRUE(c.supports({100, 1, 1, 1, r}).ok());
  EXPECT_NE(c.supports({101, 1, 1, 1, r}).message().find("100"), std::string::npos);
  EXPECT_TRUE(c.supports({2, 1 << 19, 1 << 20, 1, r}).ok());
  EXPECT_NE(c.supports({3, 1 << 19, 1 << 20, 1, r}).message().find("scores"), std::string::npos);
  EXPECT_FALSE(c.supports({INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX, r}).ok());
  EXPECT_NE(c.supports({1, 1 << 21, 1, 1 << 20, r}).message().find("queries"), std::string::npos);
  EXPECT_NE(c.supports({1, 1, 1 << 21, 1 << 20, r}).message().find("keys"), std::string::npos);
}

TEST(CpuDevice, TakesShapesThatNoKernelTakes) {
  const auto device = test::open({.name = "cpu"});
  GraphId id = 0;
  for (const int32_t dim : {1, 7, 33, 255}) {
    for (const int32_t keys : {1, 15, 257, 530}) {
      LaunchProblem problem({2, 5, keys, dim, {.mantissa = 200, .shift = 2}}, 3);
      ASSERT_TRUE(test::run(*device, id++, problem).ok());
      EXPECT_EQ(problem.wrong_scores(*device, 0), 0) << dim << " " << keys;
      EXPECT_EQ(problem.wrong_scores(*device, 1), 0) << dim << " " << keys;
    }
  }
}

TEST_P(DeviceTest, GraphsAndLaunchesThatMakeNoSense) {
  const auto device = open();
  LaunchProblem problem(kSmall, 1);
  EXPECT_EQ(device->memory(), nullptr);
  ASSERT_TRUE(device->compile(5, kSmall).ok());
  EXPECT_FALSE(device->compile(5, kSmall).ok());
  EXPECT_FALSE(device->submit({5, problem.heads()}).ok());  // no memory yet
  EXPECT_FALSE(device->submit({6, problem.heads()}).ok());
  EXPECT_FALSE(device->release(6).ok());
  ASSERT_TRUE(device->wait(0, 0, net(), nullptr).ok());
  ASSERT_TRUE(device->reserve(problem.end()).ok());
  const auto refused = [&](auto change) {
    std::vector<LaunchHead> heads = problem.heads();
    change(heads);
    const auto ticket = device->submit({5, heads});
    EXPECT_FALSE(ticket.ok() || ticket.status().message().empty());
    return !ticket.ok() && ticket.status().code() == StatusCode::kInvalidArgument;
  };
  using Heads = std::vector<LaunchHead>;
  EXPECT_TRUE(refused([](Heads& heads) { heads.pop_back(); }));
  EXPECT_TRUE(refused([](Heads& heads) { heads.push_back(heads[0]); }));
  EXPECT_TRUE(refused([](Heads& heads) { heads.clear(); }));
  for (const int64_t offset : {int64_t{-128}, int64_t{64}, problem.end(), INT64_MAX, INT64_MIN,
                               problem.end() - kDeviceAlignment}) {
    EXPECT_TRUE(refused([&](Heads& heads) { heads[1].query = offset; })) << offset;
    EXPECT_TRUE(refused([&](Heads& heads) { heads[1].key = offset; })) << offset;
    EXPECT_TRUE(refused([&](Heads& heads) { heads[0].scores = offset; })) << offset;
  }
  problem.fill(*device);
  ASSERT_TRUE(device->submit({5, problem.heads()}).ok());
  ASSERT_TRUE(device->wait(1, 1, net(), nullptr).ok());
  EXPECT_EQ(problem.wrong_scores(*device, 1), 0);
}

TEST_P(DeviceTest, MemoryGrowsAndIsAligned) {
  const auto device = open();
  EXPECT_FALSE(device->reserve(-1).ok());
  ASSERT_TRUE(device->reserve(1000).ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(device->memory()) % kDeviceAlignment, 0U);
  device->memory()[999] = std::byte{42};
  ASSERT_TRUE(device->reserve(10).ok());
  EXPECT_EQ(device->memory()[999], std::byte{42});
  ASSERT_TRUE(device->reserve(1 << 20).ok());
  device->memory()[(1 << 20) - 1] = std::byte{1};
  const Status s = device->reserve(device->capabilities().max_memory_bytes + 1);
  EXPECT_EQ(s.code(), StatusCode::kOutOfMemory);
  EXPECT_NE(device->memory(), nullptr);
}

TEST_P(DeviceTest, WaitsThatMakeNoSense) {
  const auto device = open();
  EXPECT_EQ(device->wait(0, 0, net(), nullptr).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(device->wait(-1, 0, net(), nullptr).code(), StatusCode::kInvalidArgument);
  LaunchProblem problem(kSmall, 1);
  ASSERT_TRUE(test::run(*device, 1, problem).ok());  // tickets 0 and 1
  for (const int32_t head : {-1, 2, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(device->wait(1, head, net(), nullptr).code(), StatusCode::kInvalidArgument) << head;
  }
  EXPECT_EQ(device->wait(0, 1, net(), nullptr).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(device->wait(2, 0, net(), nullptr).code(), StatusCode::kInvalidArgument);
  // What is done is done, whatever the deadline.
  EXPECT_TRUE(device->wait(1, 0, Device::Clock::time_point::min(), nullptr).ok());
  EXPECT_TRUE(device->wait(1, 1, Device::Clock::time_point::max(), nullptr).ok());
}

TEST_P(DeviceTest, TicketsAscendAndAreKeptForAWhile) {
  const auto device = open();
  LaunchProblem problem(kSmall, 1);
  ASSERT_TRUE(test::run(*device, 1, problem).ok());
  const int32_t kept = 4 * device->capabilities().queue_depth;
  Ticket last = 1;
  for (int32_t i = 0; i < kept + 3; ++i) {
    const auto ticket = device->submit({1, problem.heads()});
    ASSERT_TRUE(ticket.ok());
    EXPECT_GT(ticket.value(), last);
    last = ticket.value();
    ASSERT_TRUE(device->wait(last, 1, net(), nullptr).ok());
  }
  HeadTiming timing;
  EXPECT_TRUE(device->wait(last - kept + 1, 1, net(), &timing).ok());
  EXPECT_EQ(device->wait(last - kept, 1, net(), &timing).code(), StatusCode::kInvalidArgument);
}

TEST_P(DeviceTest, TimesOfHeadsFollowEachOther) {
  const auto device = open();
  LaunchProblem problem({4, 16, 64, 32, {.mantissa = 140, .shift = 5}}, 1);
  const int64_t before = std::chrono::nanoseconds(Device::Clock::now().time_since_epoch()).count();
  ASSERT_TRUE(test::run(*device, 1, problem).ok());
  const int64_t after = std::chrono::nanoseconds(Device::Clock::now().time_since_epoch()).count();
  int64_t previous_end = before;
  for (int32_t h = 0; h < 4; ++h) {
    HeadTiming timing;
    ASSERT_TRUE(device->wait(1, h, net(), &timing).ok());
    EXPECT_GE(timing.start_ns, previous_end);
    EXPECT_GE(timing.end_ns, timing.start_ns);
    previous_end = timing.end_ns;
  }
  EXPECT_LE(previous_end, after);
}

TEST_P(DeviceTest, ReleasedGraphsServeWhatWasQueuedBefore) {
  const auto device = open();
  LaunchProblem problem(kSmall, 4);
  ASSERT_TRUE(device->reserve(problem.end()).ok());
  problem.fill(*device);
  ASSERT_TRUE(device->compile(1, kSmall).ok());
  const auto ticket = device->submit({1, problem.heads()});
  ASSERT_TRUE(ticket.ok());
  ASSERT_TRUE(device->release(1).ok());
  EXPECT_FALSE(device->release(1).ok());
  EXPECT_FALSE(device->submit({1, problem.heads()}).ok());
  GraphSpec other = kSmall;
  other.dim = 64;
  ASSERT_TRUE(device->compile(1, other).ok());
  ASSERT_TRUE(device->wait(ticket.value(), 1, net(), nullptr).ok());
  EXPECT_EQ(problem.wrong_scores(*device, 0), 0);
  EXPECT_EQ(problem.wrong_scores(*device, 1), 0);
}

TEST_P(DeviceTest, ManyThreadsWait) {
  const auto device = open();
  const GraphSpec spec{8, 16, 64, 64, {.mantissa = 140, .shift = 5}};
  std::vector<LaunchProblem> problems;
  for (uint64_t i = 0; i < 10; ++i) {
    problems.emplace_back(spec, i, problems.empty() ? 0 : problems.back().end());
  }
  ASSERT_TRUE(device->reserve(problems.back().end()).ok());
  ASSERT_TRUE(device->compile(1, spec).ok());
  std::vector<Ticket> tickets;
  for (LaunchProblem& problem : problems) {
    problem.fill(*device);
    const auto ticket = device->submit({1, problem.heads()});
    ASSERT_TRUE(ticket.ok()) << ticket.status().message();
    tickets.push_back(ticket.value());
  }
  std::atomic<int64_t> wrong{0};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < problems.size(); ++i) {
        const size_t launch = t % 2 == 0 ? i : problems.size() - 1 - i;
        for (int32_t h = 0; h < spec.heads; ++h) {
          HeadTiming timing;
          if (!device->wait(tickets[launch], h, net(), &timing).ok()) ++wrong;
          if (h % 4 == static_cast<int32_t>(t)) {
            wrong += problems[launch].wrong_scores(*device, h);
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(OpenDevice, NamesAreKnown) {
  EXPECT_EQ(device_names(), (std::vector<std::string_view>{"cpu", "npu-sim", "hexagon"}));
  const auto none = open_device({.name = "npu"});
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(none.status().message().find("npu-sim"), std::string::npos);
  for (const std::string_view name : device_names()) {
    const auto device = open_device({.name = std::string(name)});
    if (device.ok()) {
      EXPECT_EQ(device.value()->capabilities().name, name);
      EXPECT_FALSE(device.value()->capabilities().description.empty());
    } else {
      EXPECT_FALSE(device.status().message().empty());
    }
  }
}

TEST(OpenDevice, OptionsOutOfRange) {
  const auto code = [](const DeviceOptions& options) {
    const auto device = open_device(options);
    return device.ok() ? StatusCode::kOk : device.status().code();
  };
  constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
  EXPECT_EQ(code({.name = "npu-sim", .device_cpu = -2}), kInvalid);
  EXPECT_EQ(code({.name = "npu-sim", .launch_us = -1}), kInvalid);
  EXPECT_EQ(code({.name = "npu-sim", .max_graphs = -1}), kInvalid);
  EXPECT_EQ(code({.name = "npu-sim", .fault_at = -1}), kInvalid);
  EXPECT_EQ(code({.name = "npu-sim", .timeout_ms = -1}), kInvalid);
  EXPECT_EQ(code({.name = "cpu", .timeout_ms = -1}), kInvalid);
  // Not ignored in silence.
  EXPECT_EQ(code({.name = "cpu", .soc = "a.json"}), kInvalid);
  EXPECT_EQ(code({.name = "cpu", .device_cpu = 0}), kInvalid);
  EXPECT_EQ(code({.name = "cpu", .launch_us = 1}), kInvalid);
  EXPECT_EQ(code({.name = "cpu", .max_graphs = 1}), kInvalid);
  EXPECT_EQ(code({.name = "cpu", .fault = DeviceFault::kSlow}), kInvalid);
  // No such core, in two ways.
  EXPECT_EQ(code({.name = "npu-sim", .device_cpu = 1 << 20}), StatusCode::kUnsupported);
  EXPECT_EQ(code({.name = "npu-sim", .device_cpu = 1000}), StatusCode::kUnsupported);
}

TEST(NpuSim, TakesItsOptions) {
  const auto device = test::open(
      {.name = "npu-sim", .device_cpu = 0, .launch_us = 20000, .max_graphs = 2, .timeout_ms = 77});
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(device->capabilities().timeout, std::chrono::milliseconds(77));
  LaunchProblem problem(kSmall, 1);
  ASSERT_TRUE(test::run(*device, 1, problem).ok());
  HeadTiming first;
  HeadTiming second;
  ASSERT_TRUE(device->wait(1, 0, net(), &first).ok());
  ASSERT_TRUE(device->wait(1, 1, net(), &second).ok());
  EXPECT_GE(first.end_ns - first.start_ns, 20'000'000);  // never less; more is no fault
  EXPECT_GE(second.start_ns, first.end_ns);
  ASSERT_TRUE(device->compile(2, kSmall).ok());
  const auto third = device->compile(3, kSmall);
  ASSERT_FALSE(third.ok());
  EXPECT_NE(third.status().message().find("2 graphs"), std::string::npos);
  ASSERT_TRUE(device->release(1).ok());
  EXPECT_TRUE(device->compile(3, kSmall).ok());
  EXPECT_GT(device->simulation_cpu_ns(), 0);
  EXPECT_EQ(device->late_launches(), 0);
}

TEST(NpuSim, BytesOfGraphsAreLimited) {
  const auto device = test::open({.name = "npu-sim", .max_graphs = 1 << 20});
  GraphSpec spec = kSmall;
  spec.heads = device->capabilities().max_heads;
  const int64_t bytes = device->capabilities().graph_bytes(spec);
  EXPECT_GT(bytes, 10'000);
  EXPECT_LT(bytes, 100'000);
  const int64_t fit = device->capabilities().max_graph_bytes / bytes;
  for (int32_t id = 0; id < fit; ++id) {
    const auto ticket = device->compile(id, spec);
    ASSERT_TRUE(ticket.ok()) << ticket.status().message();
    ASSERT_TRUE(device->wait(ticket.value(), 0, net(), nullptr).ok());
  }
  EXPECT_EQ(device->compile(-1, spec).status().code(), StatusCode::kUnsupported);
  ASSERT_TRUE(device->release(0).ok());
  EXPECT_TRUE(device->compile(-1, spec).ok());
}

TEST(NpuSim, AHeadIsHandedOverBeforeTheNext) {
  const auto device = test::open({.name = "npu-sim"});
  const GraphSpec spec{2, 512, 2048, 256, {.mantissa = 140, .shift = 12}};
  std::vector<LaunchHead> heads(2);
  heads[0] = {0, 1 << 20, 4 << 20};
  heads[1] = {0, 1 << 20, 8 << 20};
  ASSERT_TRUE(device->reserve(12 << 20).ok());
  std::memset(device->memory(), 1, 12 << 20);
  ASSERT_TRUE(device->compile(1, spec).ok());
  // Several launches, so that one is sure to be met in the middle on a busy machine.
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(device->submit({1, heads}).ok());
  bool overtaken = false;
  for (Ticket t = 1; t <= 10; ++t) {
    HeadTiming first;
    HeadTiming second;
    ASSERT_TRUE(device->wait(t, 0, net(), &first).ok());
    const int64_t seen = std::chrono::nanoseconds(Device::Clock::now().time_since_epoch()).count();
    ASSERT_TRUE(device->wait(t, 1, net(), &second).ok());
    overtaken = overtaken || seen < second.end_ns;
  }
  EXPECT_TRUE(overtaken);
}

TEST(NpuSim, TheQueueHasADepth) {
  const auto device = test::open({.name = "npu-sim", .fault = DeviceFault::kHang});
  const int32_t depth = device->capabilities().queue_depth;
  for (int32_t i = 0; i < depth; ++i) ASSERT_TRUE(device->compile(i, kSmall).ok());
  const auto refused = device->compile(depth, kSmall);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("full"), std::string::npos);
  EXPECT_FALSE(device->reserve(1).ok());  // in flight
}

TEST(NpuSim, EndsInFlight) {
  for (int i = 0; i < 20; ++i) {
    const auto device = test::open({.name = "npu-sim"});
    const GraphSpec spec{4, 512, 4096, 256, {.mantissa = 140, .shift = 12}};
    const std::vector<LaunchHead> heads(4, {0, 1 << 20, 4 << 20});
    ASSERT_TRUE(device->reserve(8 << 20).ok());
    std::memset(device->memory(), 1, 8 << 20);
    ASSERT_TRUE(device->compile(1, spec).ok());
    for (int n = 0; n < 8; ++n) ASSERT_TRUE(device->submit({1, heads}).ok());
    if (i % 2 == 0) {
      ASSERT_TRUE(device->wait(1, 0, net(), nullptr).ok());
    }
  }
}

}  // namespace
}  // namespace shadowattn
