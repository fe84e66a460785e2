#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "shadowattn/executor.h"

namespace shadowattn {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    pool_ = make_thread_pool(GetParam());
    ASSERT_NE(pool_, nullptr);
  }

  std::unique_ptr<Executor> pool_;
};

TEST_P(ThreadPoolTest, RunsEveryTaskOnce) {
  EXPECT_EQ(pool_->threads(), GetParam());
  for (const int64_t count : {0, 1, 2, 3, 16, 1000}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
    pool_->run(count, [&](int64_t index, int thread) {
      ASSERT_GE(thread, 0);
      ASSERT_LT(thread, GetParam());
      ++runs[static_cast<size_t>(index)];
    });
    for (const auto& run : runs) EXPECT_EQ(run.load(), 1);
  }
}

TEST_P(ThreadPoolTest, NoThreadNumberIsInUseTwice) {
  std::vector<std::atomic<int>> users(static_cast<size_t>(GetParam()));
  std::vector<int64_t> unguarded(static_cast<size_t>(GetParam()), 0);  // for ThreadSanitizer
  for (int repeat = 0; repeat < 20; ++repeat) {
    pool_->run(200, [&](int64_t, int thread) {
      EXPECT_EQ(users[static_cast<size_t>(thread)].fetch_add(1), 0);
      ++unguarded[static_cast<size_t>(thread)];
      std::this_thread::yield();
      users[static_cast<size_t>(thread)].fetch_sub(1);
    });
  }
  int64_t sum = 0;
  for (const int64_t n : unguarded) sum += n;
  EXPECT_EQ(sum, 20 * 200);
}

TEST_P(ThreadPoolTest, WhatATaskWroteIsSeenAfterRun) {
  std::vector<int64_t> results(500, 0);
  for (int64_t repeat = 1; repeat <= 200; ++repeat) {
    pool_->run(500, [&](int64_t i, int) { results[static_cast<size_t>(i)] += i; });
    ASSERT_EQ(results[499], 499 * repeat);
    ASSERT_EQ(results[1], repeat);
  }
}

TEST_P(ThreadPoolTest, ManyShortRuns) {
  std::atomic<int64_t> sum{0};
  for (int repeat = 0; repeat < 3000; ++repeat) pool_->run(2, [&](int64_t i, int) { sum += i; });
  EXPECT_EQ(sum.load(), 3000);
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 5, 16),
                         testing::PrintToStringParamName());

TEST(ThreadPoolLifeTest, MayDieUnused) {
  for (int threads = 1; threads < 10; ++threads) EXPECT_NE(make_thread_pool(threads), nullptr);
}

TEST(ThreadPoolLifeTest, PoolsAreIndependent) {
  const auto a = make_thread_pool(2);
  const auto b = make_thread_pool(2);
  std::atomic<int64_t> sum{0};
  std::thread other([&] {
    for (int i = 0; i < 200; ++i) b->run(10, [&](int64_t, int) { ++sum; });
  });
  for (int i = 0; i < 200; ++i) a->run(10, [&](int64_t, int) { ++sum; });
  other.join();
  EXPECT_EQ(sum.load(), 4000);
}

}  // namespace
}  // namespace shadowattn
