// A program that breaks the protocol: the device is lost, with a message, and nothing else happens.
#include <gtest/gtest.h>

#include <thread>

#include "device/hexagon_channel.h"
#include "hexagon/protocol.h"
#include "hexagon_problem.h"

namespace shadowattn::test {
namespace {

constexpr GraphSpec kThreeHeads{3, 4, 128, 16, {200, 5}};

struct Fault {
  std::string mode;
  int command;
};

std::string fault_name(const testing::TestParamInfo<Fault>& info) {
  std::string name = info.param.mode + "_" + std::to_string(info.param.command);
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
}

std::vector<Fault> faults(const std::vector<std::string>& modes, std::initializer_list<int> at) {
  std::vector<Fault> all;
  for (const std::string& mode : modes) {
    for (const int command : at) all.push_back({mode, command});
  }
  return all;
}

// Modes that no reader of messages may accept, whatever the message.
const std::vector<std::string> kNoMessage{"magic",    "version", "size",    "checksum",
                                          "sequence", "garbage", "request", "command",
                                          "status",   "short",   "die"};

class HexagonBadGreeting : public testing::TestWithParam<Fault> {};

TEST_P(HexagonBadGreeting, IsRefused) {
  Result<std::unique_ptr<Device>> device = open_fake(GetParam().mode, GetParam().command);
  ASSERT_FALSE(device.ok());
  EXPECT_EQ(device.status().code(), StatusCode::kDeviceFailed);
  EXPECT_FALSE(device.status().message().empty());
}

INSTANTIATE_TEST_SUITE_P(Faults, HexagonBadGreeting,
                         testing::ValuesIn(faults(kNoMessage, {kHexagonHello})), fault_name);
INSTANTIATE_TEST_SUITE_P(Limits, HexagonBadGreeting,
                         testing::ValuesIn(faults({"limits", "memory", "exit", "far-head"},
                                                  {kHexagonHello})),
                         fault_name);

class HexagonBadAnswer : public testing::TestWithParam<Fault> {};

// Goes through all commands; the fault meets one of them.
Status use(Device& device) {
  HexagonProblem problem(kThreeHeads);
  Status status = device.reserve(problem.bytes());
  if (!status.ok()) return status;
  problem.fill(device.memory(), random_bytes(1), random_bytes(2));
  Result<Ticket> compiled = device.compile(1, kThreeHeads);
  if (!compiled.ok()) return compiled.status();
  status = device.wait(compiled.value(), 0, hexagon_deadline(), nullptr);
  if (!status.ok()) return status;
  Result<Ticket> launched = device.submit({1, problem.heads()});
  if (!launched.ok()) return launched.status();
  status = device.wait(launched.value(), 2, hexagon_deadline(), nullptr);
  if (!status.ok()) return status;
  EXPECT_EQ(problem.differences(device.memory()), 0);
  status = device.release(1);
  if (!status.ok()) return status;
  return device.reserve(int64_t{1} << 21);  // answered after the release
}

TEST_P(HexagonBadAnswer, LosesTheDevice) {
  Result<std::unique_ptr<Device>> device = open_fake(GetParam().mode, GetParam().command);
  ASSERT_TRUE(device.ok()) << device.status().message();
  const Status status = use(*device.value());
  EXPECT_EQ(status.code(), StatusCode::kDeviceFailed) << status.message();
  EXPECT_FALSE(status.message().empty());
  EXPECT_FALSE(device.value()->compile(9, kThreeHeads).ok());
}

INSTANTIATE_TEST_SUITE_P(Faults, HexagonBadAnswer,
                         testing::ValuesIn(faults(kNoMessage, {kHexagonMap, kHexagonCompile,
                                                               kHexagonLaunch, kHexagonRelease})),
                         fault_name);
INSTANTIATE_TEST_SUITE_P(Launch, HexagonBadAnswer,
                         testing::ValuesIn(faults({"head", "far-head", "die-after-head"},
                                                  {kHexagonLaunch})),
                         fault_name);
TEST(HexagonFault, ABellWithoutAMessage) {
  Result<std::unique_ptr<Device>> device = open_fake("two-bells", kHexagonCompile);
  ASSERT_TRUE(device.ok());
  ASSERT_TRUE(device.value()->compile(1, kThreeHeads).ok());
  Status status;
  do {
    status = device.value()->release(2);  // there is none, so nothing is sent
    std::this_thread::yield();
  } while (status.code() == StatusCode::kInvalidArgument);
  EXPECT_EQ(status.code(), StatusCode::kDeviceFailed);
}

TEST(HexagonFault, AnHonestProgramIsNone) {
  Result<std::unique_ptr<Device>> device = open_fake();
  ASSERT_TRUE(device.ok());
  EXPECT_TRUE(use(*device.value()).ok());
}

TEST(HexagonFault, ARefusedGraphIsNotTheEnd) {
  Result<std::unique_ptr<Device>> device = open_fake("refuse", kHexagonCompile);
  ASSERT_TRUE(device.ok());
  EXPECT_EQ(use(*device.value()).code(), StatusCode::kUnsupported);
  EXPECT_TRUE(device.value()->release(1).ok());
  EXPECT_TRUE(device.value()->reserve(int64_t{1} << 21).ok());
}

TEST(HexagonFault, NorIsARefusedLaunch) {
  Result<std::unique_ptr<Device>> device = open_fake("refuse", kHexagonLaunch);
  ASSERT_TRUE(device.ok());
  // That two more answers come for a request that an error has ended is a breach, but a later one.
  EXPECT_EQ(use(*device.value()).code(), StatusCode::kUnsupported);
}

TEST(HexagonFault, MemoryThatCannotBeMapped) {
  Result<std::unique_ptr<Device>> device = open_fake("no-memory", kHexagonMap);
  ASSERT_TRUE(device.ok());
  EXPECT_EQ(device.value()->reserve(1000).code(), StatusCode::kOutOfMemory);
  EXPECT_EQ(device.value()->memory(), nullptr);
}

TEST(HexagonFault, AClockThatMakesNoSenseIsReplaced) {
  for (const char* mode : {"clock", "late-clock"}) {
    Result<std::unique_ptr<Device>> device = open_fake(mode, kHexagonLaunch);
    ASSERT_TRUE(device.ok());
    HexagonProblem problem(kThreeHeads);
    ASSERT_TRUE(device.value()->reserve(problem.bytes()).ok());
    problem.fill(device.value()->memory(), random_bytes(1), random_bytes(2));
    ASSERT_TRUE(device.value()->compile(1, kThreeHeads).ok());
    int64_t last = Device::Clock::now().time_since_epoch().count();
    Result<Ticket> launched = device.value()->submit({1, problem.heads()});
    ASSERT_TRUE(launched.ok());
    for (int32_t h = 0; h < 3; ++h) {
      HeadTiming timing;
      ASSERT_TRUE(device.value()->wait(launched.value(), h, hexagon_deadline(), &timing).ok());
      EXPECT_GE(timing.start_ns, last);
      EXPECT_GE(timing.end_ns, timing.start_ns);
      last = timing.end_ns;
    }
    EXPECT_LE(last, Device::Clock::now().time_since_epoch().count());
  }
}

TEST(HexagonFault, SilenceEndsInATimeOut) {
  const std::chrono::milliseconds patience{30};
  EXPECT_EQ(start_hexagon(fake_program("silent"), patience).status().code(), StatusCode::kTimedOut);
  Result<std::unique_ptr<Device>> device = open_fake("hang-after-head", kHexagonLaunch);
  ASSERT_TRUE(device.ok());
  HexagonProblem problem(kThreeHeads);
  ASSERT_TRUE(device.value()->reserve(problem.bytes()).ok());
  problem.fill(device.value()->memory(), random_bytes(1), random_bytes(2));
  ASSERT_TRUE(device.value()->compile(1, kThreeHeads).ok());
  Result<Ticket> launched = device.value()->submit({1, problem.heads()});
  ASSERT_TRUE(launched.ok());
  EXPECT_TRUE(device.value()->wait(launched.value(), 0, hexagon_deadline(), nullptr).ok());
  EXPECT_EQ(
      device.value()->wait(launched.value(), 1, Device::Clock::now() + patience, nullptr).code(),
      StatusCode::kTimedOut);
  EXPECT_TRUE(device.value()->wait(launched.value(), 0, hexagon_deadline(), nullptr).ok());
}

TEST(HexagonFault, NoProgram) {
  const Status status = start_hexagon({"shadowattn-no-such-program"}, kHexagonPatience).status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_EQ(start_hexagon({}, kHexagonPatience).status().code(), StatusCode::kInternal);
  // Starts, but it is no emulator.
  EXPECT_EQ(start_hexagon({"true"}, kHexagonPatience).status().code(), StatusCode::kDeviceFailed);
}

// The emulated program itself, asked to misbehave.
class HexagonProgram : public testing::Test {
 protected:
  void start(bool faults) {
    Result<std::vector<std::string>> command = hexagon_command();
    if (!command.ok()) GTEST_SKIP() << command.status().message();
    if (faults) command.value().push_back("faults");
    Result<std::unique_ptr<HexagonChannel>> channel = HexagonChannel::start(command.value());
    if (!channel.ok() && channel.status().code() == StatusCode::kUnsupported) {
      GTEST_SKIP() << channel.status().message();
    }
    ASSERT_TRUE(channel.ok()) << channel.status().message();
    channel_ = std::move(channel).value();
    HexagonHeader hello{};
    ASSERT_TRUE(channel_->post(kHexagonHello, &hello, sizeof(hello)).ok());
    HexagonHelloReply reply{};
    ASSERT_TRUE(channel_->receive(reply).ok());
  }
  Status ask(uint32_t fault, HexagonHelloReply& reply) {
    HexagonFaultRequest request{{}, fault, 0};
    if (!channel_->post(kHexagonFault, &request, sizeof(request)).ok()) return {};
    return channel_->receive(reply);
  }

  std::unique_ptr<HexagonChannel> channel_;
};

TEST_F(HexagonProgram, CrashIsSeen) {
  start(true);
  if (!channel_) return;
  HexagonHelloReply reply{};
  EXPECT_EQ(ask(kHexagonCrash, reply).code(), StatusCode::kDeviceFailed);
}

TEST_F(HexagonProgram, RefusesFaultsUnlessStartedForThem) {
  start(false);
  if (!channel_) return;
  HexagonHelloReply reply{};
  ASSERT_TRUE(ask(kHexagonCrash, reply).ok());
  EXPECT_EQ(reply.reply.status, kHexagonBadCommand);
  HexagonHeader ping{};
  ASSERT_TRUE(channel_->post(kHexagonPing, &ping, sizeof(ping)).ok());
  ASSERT_TRUE(channel_->receive(reply).ok());
  EXPECT_EQ(reply.reply.status, kHexagonOk);
}

TEST_F(HexagonProgram, QuitsWhenAsked) {
  start(false);
  if (!channel_) return;
  HexagonHeader quit{};
  HexagonHelloReply reply{};
  ASSERT_TRUE(channel_->post(kHexagonQuit, &quit, sizeof(quit)).ok());
  ASSERT_TRUE(channel_->receive(reply).ok());
  EXPECT_EQ(channel_->receive(reply).code(), StatusCode::kDeviceFailed);
}

}  // namespace
}  // namespace shadowattn::test
