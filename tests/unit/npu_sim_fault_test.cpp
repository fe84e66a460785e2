// Faults on request: each shows as it should, in the operation it should, and nothing hangs.
#include <gtest/gtest.h>

#include <thread>

#include "device_problem.h"

namespace shadowattn {
namespace {

using test::LaunchProblem;
using test::net;

constexpr GraphSpec kSpec{2, 16, 64, 32, {.mantissa = 140, .shift = 5}};

/// npu-sim with a fault, a compiled graph (operation 0) and memory for one launch.
class FaultTest : public testing::Test {
 protected:
  void open(DeviceFault fault, int32_t first, int32_t timeout_ms = 0) {
    device_ = test::open({.name = "npu-sim",
                          .launch_us = launch_us_,
                          .fault = fault,
                          .fault_at = first,
                          .timeout_ms = timeout_ms});
    ASSERT_TRUE(device_->reserve(problem_.end()).ok());
    problem_.fill(*device_);
    ASSERT_TRUE(device_->compile(1, kSpec).ok());
  }

  Ticket submit() {
    const auto ticket = device_->submit({1, problem_.heads()});
    EXPECT_TRUE(ticket.ok()) << ticket.status().message();
    return ticket.ok() ? ticket.value() : -1;
  }

  Status wait(Ticket ticket, int32_t head = 1, HeadTiming* timing = nullptr) {
    return device_->wait(ticket, head, net(), timing);
  }

  Status wait_until_time_out(Ticket ticket) {
    const auto deadline = Device::Clock::now() + std::chrono::milliseconds(30);
    return device_->wait(ticket, 0, deadline, nullptr);
  }

  int64_t wrong_scores() {
    return problem_.wrong_scores(*device_, 0) + problem_.wrong_scores(*device_, 1);
  }

  void expect_takes_no_more_work() {
    const auto compiled = device_->compile(2, kSpec);
    ASSERT_FALSE(compiled.ok());
    EXPECT_EQ(compiled.status().code(), StatusCode::kDeviceFailed);
    const auto launched = device_->submit({1, problem_.heads()});
    ASSERT_FALSE(launched.ok());
    EXPECT_EQ(launched.status().code(), StatusCode::kDeviceFailed);
    EXPECT_FALSE(device_->reserve(2 * problem_.end()).ok());
  }

  int32_t launch_us_ = 0;
  LaunchProblem problem_{kSpec, 11};
  std::unique_ptr<Device> device_;
};

TEST_F(FaultTest, SlowTakesTwentyTimesAsLong) {
  launch_us_ = 1000;
  open(DeviceFault::kSlow, 2);
  HeadTiming first;
  HeadTiming second;
  ASSERT_TRUE(wait(submit(), 0, &first).ok());
  EXPECT_GE(first.end_ns - first.start_ns, 1'000'000);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(wait(submit(), 0, &second).ok());
    EXPECT_GE(second.end_ns - second.start_ns, 20'000'000);
  }
  ASSERT_TRUE(wait(3, 1).ok());
  EXPECT_EQ(wrong_scores(), 0);
}

TEST_F(FaultTest, HangEndsInATimeOut) {
  open(DeviceFault::kHang, 2);
  const Ticket good = submit();
  ASSERT_TRUE(wait(good).ok());
  EXPECT_EQ(wrong_scores(), 0);
  const Ticket first = submit();
  const Ticket second = submit();
  EXPECT_EQ(wait_until_time_out(first).code(), StatusCode::kTimedOut);
  EXPECT_EQ(wait(first).code(), StatusCode::kDeviceFailed);  // at once, as the device is given up
  EXPECT_EQ(wait(second).code(), StatusCode::kDeviceFailed);
  EXPECT_TRUE(wait(good).ok());  // what was there is still there
  expect_takes_no_more_work();
}

TEST_F(FaultTest, OneTimeOutWakesAllThatWait) {
  open(DeviceFault::kHang, 0);
  const Ticket ticket = submit();
  Status statuses[3];
  std::vector<std::thread> threads;
  for (Status& status : statuses) {
    threads.emplace_back([&] { status = wait(ticket); });
  }
  EXPECT_EQ(wait_until_time_out(ticket).code(), StatusCode::kTimedOut);
  for (std::thread& thread : threads) thread.join();
  for (const Status& status : statuses) EXPECT_EQ(status.code(), StatusCode::kDeviceFailed);
}

TEST_F(FaultTest, LateAnswersComeAfterTheTimeOut) {
  open(DeviceFault::kLate, 1, 50);
  const auto deadline = Device::Clock::now() + device_->capabilities().timeout;
  const Ticket ticket = submit();
  // Waited for without end it comes, and is right; in time it is not there.
  ASSERT_TRUE(wait(0, 0).ok());
  HeadTiming timing;
  ASSERT_TRUE(wait(ticket, 1, &timing).ok());
  EXPECT_GT(Device::Clock::now(), deadline);
  EXPECT_EQ(wrong_scores(), 0);
}

TEST_F(FaultTest, LateAnswersToNobody) {
  open(DeviceFault::kLate, 1, 100);
  const Ticket ticket = submit();
  EXPECT_EQ(device_->wait(ticket, 0, Device::Clock::now(), nullptr).code(), StatusCode::kTimedOut);
  expect_takes_no_more_work();
  // Written meanwhile, into memory that is still the device's.
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(wait(ticket).code(), StatusCode::kDeviceFailed);
}

TEST_F(FaultTest, LostIsReportedAtOnce) {
  open(DeviceFault::kLost, 2);
  const Ticket good = submit();
  ASSERT_TRUE(wait(good).ok());
  EXPECT_EQ(wrong_scores(), 0);
  const Ticket lost = submit();
  const Status s = wait(lost);
  EXPECT_EQ(s.code(), StatusCode::kDeviceFailed);
  EXPECT_NE(s.message().find("gone"), std::string::npos);
  expect_takes_no_more_work();
  EXPECT_TRUE(wait(good).ok());
}

TEST_F(FaultTest, LostCompilations) {
  open(DeviceFault::kLost, 0);
  EXPECT_EQ(wait(0, 0).code(), StatusCode::kDeviceFailed);
}

TEST_F(FaultTest, RefusedGraphsRefuseTheirLaunches) {
  open(DeviceFault::kRefuse, 1);
  ASSERT_TRUE(wait(0, 0).ok());
  ASSERT_TRUE(wait(submit()).ok());  // launches pass
  GraphSpec other = kSpec;
  other.requantisation.mantissa = 141;
  const auto compiled = device_->compile(2, other);
  ASSERT_TRUE(compiled.ok());
  const auto launched = device_->submit({2, problem_.heads()});
  ASSERT_TRUE(launched.ok());
  for (const Ticket ticket : {compiled.value(), launched.value()}) {
    const Status s = wait(ticket, 0);
    EXPECT_EQ(s.code(), StatusCode::kUnsupported);
    EXPECT_NE(s.message().find("refused"), std::string::npos);
  }
  EXPECT_FALSE(device_->compile(2, kSpec).ok());  // the id is taken until
  EXPECT_TRUE(device_->release(2).ok());
  EXPECT_TRUE(device_->compile(2, kSpec).ok());
  ASSERT_TRUE(wait(submit()).ok());  // the device goes on
  EXPECT_EQ(wrong_scores(), 0);
}

TEST_F(FaultTest, WrongScoresAreWrong) {
  open(DeviceFault::kWrong, 2);
  ASSERT_TRUE(wait(submit()).ok());
  EXPECT_EQ(wrong_scores(), 0);
  for (int i = 0; i < 2; ++i) {
    problem_.fill(*device_);
    ASSERT_TRUE(wait(submit()).ok());
    EXPECT_EQ(wrong_scores(), 2 * kSpec.score_bytes());
  }
  const Status s = self_test(*device_);
  EXPECT_EQ(s.code(), StatusCode::kDeviceFailed);
  EXPECT_NE(s.message().find("score of head 0"), std::string::npos) << s.message();
}

TEST_F(FaultTest, NoMemory) {
  const auto none = test::open({.name = "npu-sim", .fault = DeviceFault::kOutOfMemory});
  EXPECT_EQ(none->reserve(1).code(), StatusCode::kOutOfMemory);
  EXPECT_EQ(none->memory(), nullptr);
  open(DeviceFault::kOutOfMemory, 2);
  ASSERT_TRUE(wait(submit()).ok());
  EXPECT_EQ(device_->reserve(2 * problem_.end()).code(), StatusCode::kOutOfMemory);
  ASSERT_TRUE(wait(submit()).ok());  // what it had it has
  EXPECT_EQ(wrong_scores(), 0);
}

TEST_F(FaultTest, EndsSoonInEveryState) {
  for (const DeviceFault fault :
       {DeviceFault::kNone, DeviceFault::kSlow, DeviceFault::kLate, DeviceFault::kHang,
        DeviceFault::kLost, DeviceFault::kRefuse, DeviceFault::kWrong}) {
    for (const int32_t first : {0, 1, 3}) {
      const auto before = Device::Clock::now();
      launch_us_ = 5'000'000;
      open(fault, first, 600'000);
      for (int i = 0; i < 4; ++i) {
        (void)device_->submit({1, problem_.heads()});  // may be lost already
      }
      device_.reset();
      // Far below any of the times asked for; a safety net, not a measurement.
      EXPECT_LT(Device::Clock::now() - before, std::chrono::seconds(60));
    }
  }
}

TEST_F(FaultTest, SelfTestSaysWhatIsWrong) {
  for (const auto& [fault, code] :
       {std::pair{DeviceFault::kHang, StatusCode::kTimedOut},
        std::pair{DeviceFault::kLate, StatusCode::kTimedOut},
        std::pair{DeviceFault::kLost, StatusCode::kDeviceFailed},
        std::pair{DeviceFault::kRefuse, StatusCode::kUnsupported},
        std::pair{DeviceFault::kWrong, StatusCode::kDeviceFailed},
        std::pair{DeviceFault::kOutOfMemory, StatusCode::kOutOfMemory}}) {
    const auto device = test::open({.name = "npu-sim", .fault = fault, .timeout_ms = 200});
    const Status s = self_test(*device);
    EXPECT_EQ(s.code(), code) << s.message();
    EXPECT_FALSE(s.message().empty());
  }
}

}  // namespace
}  // namespace shadowattn
