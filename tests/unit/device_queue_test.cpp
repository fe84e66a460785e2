// The bookkeeping of tickets, without a device.
#include "device/device_queue.h"

#include <gtest/gtest.h>

#include <thread>

namespace shadowattn {
namespace {

using Clock = Device::Clock;

Clock::time_point net() { return Clock::now() + std::chrono::minutes(5); }

TEST(DeviceQueue, HeadsEndOneByOne) {
  DeviceQueue queue(2, 3);
  ASSERT_EQ(queue.next_ticket().value(), 0);
  queue.push(3);
  queue.end_head(0, 0, {1, 2});
  HeadTiming timing;
  ASSERT_TRUE(queue.wait(0, 0, Clock::time_point::min(), &timing).ok());
  EXPECT_EQ(timing.start_ns, 1);
  EXPECT_EQ(timing.end_ns, 2);
  EXPECT_FALSE(queue.idle());
  queue.end_head(0, 1, {2, 4});
  queue.end_head(0, 2, {4, 8});
  EXPECT_TRUE(queue.idle());
  EXPECT_TRUE(queue.wait(0, 2, net(), nullptr).ok());
}

TEST(DeviceQueue, DepthIsWhatIsInFlight) {
  DeviceQueue queue(2, 1);
  queue.push(1);
  queue.push(1);
  EXPECT_EQ(queue.next_ticket().status().code(), StatusCode::kInvalidArgument);
  queue.fail(0, Status::unsupported("refused"));
  ASSERT_EQ(queue.next_ticket().value(), 2);
  queue.push(1);
  EXPECT_FALSE(queue.next_ticket().ok());
  queue.end_head(1, 0, {});
  EXPECT_TRUE(queue.next_ticket().ok());
  EXPECT_EQ(queue.wait(0, 0, net(), nullptr).message(), "refused");
  EXPECT_TRUE(queue.wait(1, 0, net(), nullptr).ok());
}

TEST(DeviceQueue, WhatEndedBeforeTheLossStays) {
  DeviceQueue queue(4, 2);
  queue.push(2);
  queue.push(2);
  queue.end_head(0, 0, {});
  queue.lose({StatusCode::kDeviceFailed, "gone"});
  queue.lose({StatusCode::kDeviceFailed, "gone again"});
  queue.end_head(0, 1, {});  // too late to count
  queue.fail(1, Status::unsupported("refused"));
  EXPECT_TRUE(queue.wait(0, 0, net(), nullptr).ok());
  EXPECT_EQ(queue.wait(0, 1, net(), nullptr).message(), "gone");
  EXPECT_EQ(queue.wait(1, 0, net(), nullptr).message(), "gone");
  EXPECT_EQ(queue.next_ticket().status().code(), StatusCode::kDeviceFailed);
}

TEST(DeviceQueue, ATimeOutLosesTheDevice) {
  DeviceQueue queue(4, 1);
  queue.push(1);
  EXPECT_EQ(queue.wait(0, 0, Clock::now(), nullptr).code(), StatusCode::kTimedOut);
  queue.end_head(0, 0, {});
  EXPECT_EQ(queue.wait(0, 0, net(), nullptr).code(), StatusCode::kDeviceFailed);
  EXPECT_EQ(queue.next_ticket().status().code(), StatusCode::kDeviceFailed);
}

TEST(DeviceQueue, ClosingWakesTheWorker) {
  DeviceQueue queue(1, 1);
  EXPECT_FALSE(queue.closed());
  bool pushed = true;
  bool slept = true;
  std::thread worker([&] {
    pushed = queue.wait_for_push(0);
    slept = queue.sleep_until(Clock::time_point::max());
  });
  queue.close();
  worker.join();
  EXPECT_FALSE(pushed);
  EXPECT_FALSE(slept);
  EXPECT_TRUE(queue.closed());
}

}  // namespace
}  // namespace shadowattn
