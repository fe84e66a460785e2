// The host side of the device `hexagon`: with the native stand-in always, with the emulated program
// where it can run.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "hexagon_problem.h"

namespace shadowattn::test {
namespace {

constexpr GraphSpec kSmall{2, 4, 128, 16, {200, 5}};

class HexagonDeviceTest : public testing::TestWithParam<bool> {
 protected:
  Result<std::unique_ptr<Device>> open() { return GetParam() ? open_emulated() : open_fake(); }
  void SetUp() override {
    Result<std::unique_ptr<Device>> opened = open();
    if (!opened.ok() && opened.status().code() == StatusCode::kUnsupported) {
      GTEST_SKIP() << opened.status().message();
    }
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    device_ = std::move(opened).value();
  }
  Device& device() { return *device_; }
  void drop() { device_.reset(); }

  /// Reserves, fills and compiles kSmall as graph 1.
  void prepare(HexagonProblem& problem) {
    ASSERT_TRUE(device().reserve(problem.bytes()).ok());
    problem.fill(device().memory(), random_bytes(1), random_bytes(2));
    Result<Ticket> compiled = device().compile(1, problem.spec());
    ASSERT_TRUE(compiled.ok()) << compiled.status().message();
    ASSERT_TRUE(device().wait(compiled.value(), 0, hexagon_deadline(), nullptr).ok());
  }

 private:
  std::unique_ptr<Device> device_;
};

StatusCode code_of(const Result<Ticket>& result) { return result.status().code(); }

TEST_P(HexagonDeviceTest, Capabilities) {
  const DeviceCapabilities& capabilities = device().capabilities();
  EXPECT_EQ(capabilities.name, "hexagon");
  EXPECT_TRUE(capabilities.concurrent);
  EXPECT_TRUE(capabilities.supports({1, 4, 128, 16, {128, 0}}).ok());
  EXPECT_FALSE(capabilities.supports({1, 2, 128, 16, {128, 0}}).ok());
  EXPECT_FALSE(capabilities.supports({1, 4, 64, 16, {128, 0}}).ok());
  EXPECT_FALSE(capabilities.supports({1, 4, 128, 8, {128, 0}}).ok());
  EXPECT_FALSE(capabilities.supports({33, 4, 128, 16, {128, 0}}).ok());
  ASSERT_TRUE(capabilities.graph_bytes);
  EXPECT_GT(capabilities.graph_bytes(kSmall), 0);
  EXPECT_EQ(device().simulation_cpu_ns(), 0);
}

TEST_P(HexagonDeviceTest, HeadsAreHandedOverInOrder) {
  GraphSpec spec = kSmall;
  spec.heads = 9;
  HexagonProblem problem(spec);
  prepare(problem);
  Result<Ticket> launched = device().submit({1, problem.heads()});
  ASSERT_TRUE(launched.ok());
  int64_t last = 0;
  for (int32_t h = 0; h < spec.heads; ++h) {
    HeadTiming timing;
    ASSERT_TRUE(device().wait(launched.value(), h, hexagon_deadline(), &timing).ok());
    EXPECT_GE(timing.start_ns, last);
    EXPECT_GE(timing.end_ns, timing.start_ns);
    last = timing.end_ns;
  }
  EXPECT_LE(last, Device::Clock::now().time_since_epoch().count());
  EXPECT_EQ(problem.differences(device().memory()), 0);
}

TEST_P(HexagonDeviceTest, MemoryGrows) {
  EXPECT_EQ(device().memory(), nullptr);
  ASSERT_TRUE(device().reserve(1).ok());
  ASSERT_NE(device().memory(), nullptr);
  std::byte* before = device().memory();
  ASSERT_TRUE(device().reserve(1).ok());
  EXPECT_EQ(device().memory(), before);
  for (const int64_t bytes : {int64_t{65536 - 128}, int64_t{65536}, int64_t{20} << 20}) {
    ASSERT_TRUE(device().reserve(bytes).ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(device().memory()) % kDeviceAlignment, 0u);
    device().memory()[bytes - 1] = std::byte{1};
  }
  EXPECT_EQ(device().reserve(-1).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(device().reserve(device().capabilities().max_memory_bytes + 1).code(),
            StatusCode::kOutOfMemory);
  HexagonProblem problem(kSmall);
  expect_exact(device(), problem, 3, random_bytes(1), random_bytes(2));
}

TEST_P(HexagonDeviceTest, GraphsComeAndGo) {
  HexagonProblem problem(kSmall);
  prepare(problem);
  EXPECT_EQ(code_of(device().compile(1, kSmall)), StatusCode::kInvalidArgument);
  EXPECT_FALSE(device().compile(2, {1, 3, 128, 16, {128, 0}}).ok());
  EXPECT_EQ(device().release(2).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(device().release(1).ok());
  EXPECT_EQ(device().release(1).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of(device().submit({1, problem.heads()})), StatusCode::kInvalidArgument);
  // More at a time than there are slots for messages: releases have no ticket to wait for.
  for (int round = 0; round < 3; ++round) {
    Ticket last = 0;
    for (GraphId id = 0; id < 30; ++id) {
      Result<Ticket> compiled = device().compile(id - 15, kSmall);
      ASSERT_TRUE(compiled.ok()) << compiled.status().message();
      last = compiled.value();
      EXPECT_TRUE(device().release(id - 15).ok());
    }
    EXPECT_TRUE(device().wait(last, 0, hexagon_deadline(), nullptr).ok());
  }
  expect_exact(device(), problem, -4, random_bytes(1), random_bytes(2));
}

TEST_P(HexagonDeviceTest, AsManyGraphsAsItSays) {
  const int32_t most = device().capabilities().max_graphs;
  for (GraphId id = 0; id < most; ++id) {
    Result<Ticket> compiled = device().compile(id, kSmall);
    ASSERT_TRUE(compiled.ok()) << compiled.status().message();
    ASSERT_TRUE(device().wait(compiled.value(), 0, hexagon_deadline(), nullptr).ok());
  }
  EXPECT_EQ(code_of(device().compile(most, kSmall)), StatusCode::kInvalidArgument);
  EXPECT_TRUE(device().release(most / 2).ok());
  Result<Ticket> compiled = device().compile(most, kSmall);
  ASSERT_TRUE(compiled.ok());
  EXPECT_TRUE(device().wait(compiled.value(), 0, hexagon_deadline(), nullptr).ok());
}

TEST_P(HexagonDeviceTest, BadLaunches) {
  HexagonProblem problem(kSmall);
  prepare(problem);
  std::vector<LaunchHead> heads = problem.heads();
  EXPECT_EQ(code_of(device().submit({2, heads})), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of(device().submit({1, std::span(heads).first(1)})), StatusCode::kInvalidArgument);
  for (const int64_t offset : {int64_t{-128}, int64_t{64}, int64_t{1} << 20, int64_t{1} << 32,
                               INT64_MAX - 127, INT64_MIN}) {
    for (int64_t LaunchHead::*member :
         {&LaunchHead::query, &LaunchHead::key, &LaunchHead::scores}) {
      std::vector<LaunchHead> wrong = heads;
      wrong[1].*member = offset;
      EXPECT_EQ(code_of(device().submit({1, wrong})), StatusCode::kInvalidArgument);
    }
  }
  Result<Ticket> launched = device().submit({1, heads});
  ASSERT_TRUE(launched.ok());
  const Ticket ticket = launched.value();
  for (const Ticket wrong : {ticket + 1, Ticket{0}, Ticket{-1}}) {
    EXPECT_EQ(device().wait(wrong, 0, hexagon_deadline(), nullptr).code(),
              StatusCode::kInvalidArgument);
  }
  for (const int32_t head : {-1, 2}) {
    EXPECT_EQ(device().wait(ticket, head, hexagon_deadline(), nullptr).code(),
              StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(device().wait(ticket, 1, hexagon_deadline(), nullptr).ok());
}

TEST_P(HexagonDeviceTest, OldTicketsAreForgotten) {
  HexagonProblem problem(kSmall);
  prepare(problem);
  std::vector<Ticket> tickets;
  const int32_t kept = 4 * device().capabilities().queue_depth;
  for (int32_t i = 0; i < kept + 5; ++i) {
    Result<Ticket> launched = device().submit({1, problem.heads()});
    ASSERT_TRUE(launched.ok());
    ASSERT_TRUE(device().wait(launched.value(), 1, hexagon_deadline(), nullptr).ok());
    EXPECT_GT(launched.value(), tickets.empty() ? 0 : tickets.back());
    tickets.push_back(launched.value());
  }
  EXPECT_TRUE(device().wait(tickets[5], 0, hexagon_deadline(), nullptr).ok());
  EXPECT_EQ(device().wait(tickets[4], 0, hexagon_deadline(), nullptr).code(),
            StatusCode::kInvalidArgument);
}

TEST_P(HexagonDeviceTest, ManyThreadsWait) {
  HexagonProblem problem(kSmall);
  prepare(problem);
  for (int round = 0; round < 20; ++round) {
    std::vector<Ticket> tickets;
    for (int i = 0; i < 6; ++i) {
      Result<Ticket> launched = device().submit({1, problem.heads()});
      ASSERT_TRUE(launched.ok());
      tickets.push_back(launched.value());
    }
    std::atomic<int> failures{0};
    std::vector<std::thread> threads;
    for (int32_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (const Ticket ticket : tickets) {
          HeadTiming timing;
          if (!device().wait(ticket, t % 2, hexagon_deadline(), &timing).ok()) ++failures;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(failures, 0);
  }
  EXPECT_EQ(problem.differences(device().memory()), 0);
}

// While the program is stopped the queue fills, memory cannot grow, and time runs out.
TEST_P(HexagonDeviceTest, StoppedProgram) {
  HexagonProblem problem(kSmall);
  prepare(problem);
  const pid_t process = hexagon_process(device());
  ASSERT_GT(process, 0);
  ASSERT_EQ(kill(process, SIGSTOP), 0);
  Ticket first = 0;
  for (int32_t i = 0; i < device().capabilities().queue_depth; ++i) {
    Result<Ticket> launched = device().submit({1, problem.heads()});
    ASSERT_TRUE(launched.ok()) << launched.status().message();
    if (first == 0) first = launched.value();
  }
  EXPECT_EQ(code_of(device().submit({1, problem.heads()})), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of(device().compile(5, kSmall)), StatusCode::kInvalidArgument);
  EXPECT_EQ(device().reserve(int64_t{1} << 22).code(), StatusCode::kInvalidArgument);
  const auto soon = Device::Clock::now() + std::chrono::milliseconds(20);
  EXPECT_EQ(device().wait(first, 1, soon, nullptr).code(), StatusCode::kTimedOut);
  // Lost from now on.
  EXPECT_FALSE(device().wait(first, 0, hexagon_deadline(), nullptr).ok());
  EXPECT_FALSE(device().submit({1, problem.heads()}).ok());
  EXPECT_FALSE(device().compile(5, kSmall).ok());
  EXPECT_FALSE(device().release(1).ok());
  EXPECT_FALSE(device().reserve(int64_t{1} << 22).ok());
}

TEST_P(HexagonDeviceTest, KilledProgram) {
  HexagonProblem problem(kSmall);
  prepare(problem);
  Result<Ticket> before = device().submit({1, problem.heads()});
  ASSERT_TRUE(before.ok());
  ASSERT_TRUE(device().wait(before.value(), 1, hexagon_deadline(), nullptr).ok());
  ASSERT_EQ(kill(hexagon_process(device()), SIGKILL), 0);
  // Either it is seen at once, or a waiter learns it. Writing to nobody is no SIGPIPE.
  Result<Ticket> launched = device().submit({1, problem.heads()});
  const Status status = launched.ok()
                            ? device().wait(launched.value(), 1, hexagon_deadline(), nullptr)
                            : launched.status();
  EXPECT_EQ(status.code(), StatusCode::kDeviceFailed) << status.message();
  EXPECT_EQ(code_of(device().submit({1, problem.heads()})), StatusCode::kDeviceFailed);
  // What was done before stays done.
  EXPECT_TRUE(device().wait(before.value(), 1, hexagon_deadline(), nullptr).ok());
}

TEST_P(HexagonDeviceTest, DestroyedInFlight) {
  GraphSpec spec = kSmall;
  spec.heads = 8;
  HexagonProblem problem(spec);
  prepare(problem);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(device().submit({1, problem.heads()}).ok());
  const pid_t process = hexagon_process(device());
  drop();
  EXPECT_EQ(kill(process, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST_P(HexagonDeviceTest, TwoDevicesAtOnce) {
  Result<std::unique_ptr<Device>> other = open();
  ASSERT_TRUE(other.ok());
  HexagonProblem problem(kSmall);
  expect_exact(*other.value(), problem, 1, random_bytes(3), random_bytes(4));
  expect_exact(device(), problem, 1, random_bytes(5), random_bytes(6));
}

std::string program_name(const testing::TestParamInfo<bool>& program) {
  return program.param ? "emulated" : "native";
}

INSTANTIATE_TEST_SUITE_P(Programs, HexagonDeviceTest, testing::Bool(), program_name);

}  // namespace
}  // namespace shadowattn::test
