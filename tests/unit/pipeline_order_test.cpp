// The order of launches: predictions against a simulation clock tick by clock tick, plans against
// all orders there are.
#include "device/pipeline_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "random_tensor.h"

namespace shadowattn {
namespace {

using test::Random;
using Jobs = std::vector<PipelineJob>;
using Order = std::vector<int32_t>;

constexpr int kUnlimited = 1000;

Order given(const Jobs& jobs) {
  Order order(jobs.size());
  std::iota(order.begin(), order.end(), 0);
  return order;
}

double makespan(const Jobs& jobs, const Order& order, int slots = kUnlimited, int threads = 1) {
  return predict(jobs, order, slots, threads).makespan_ns;
}

double best_makespan(const Jobs& jobs, int slots, int threads) {
  Order order = given(jobs);
  double best = std::numeric_limits<double>::infinity();
  do {
    best = std::min(best, makespan(jobs, order, slots, threads));
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
}

bool is_permutation_of(const Order& order, const Jobs& jobs) {
  const Order all = given(jobs);
  return std::is_permutation(order.begin(), order.end(), all.begin(), all.end());
}

/// Device and workers, one tick at a time; whole, positive times per head.
int64_t ticking_makespan(const Jobs& jobs, const Order& order, int slots, int threads) {
  struct Task {
    size_t position;
    int64_t left;
  };
  std::vector<Task> waiting;  // handed over, in order
  std::vector<Task> running;
  std::vector<int> unfinished;
  for (const int32_t index : order) unfinished.push_back(jobs[static_cast<size_t>(index)].heads);
  const auto times = [&](size_t position) {
    const PipelineJob& job = jobs[static_cast<size_t>(order[position])];
    return std::pair(static_cast<int64_t>(job.device_ns) / job.heads,
                     static_cast<int64_t>(job.cpu_ns) / job.heads);
  };
  size_t launched = 0;  // position on the device, or next to go there
  int heads_left = 0;
  int64_t head_time_left = 0;
  int64_t tick = 0;
  while (std::any_of(unfinished.begin(), unfinished.end(), [](int n) { return n > 0; })) {
    if (heads_left == 0 && launched < order.size() &&
        (launched < static_cast<size_t>(slots) ||
         unfinished[launched - static_cast<size_t>(slots)] == 0)) {
      heads_left = jobs[static_cast<size_t>(order[launched])].heads;
      head_time_left = times(launched).first;
    }
    while (!waiting.empty() && running.size() < static_cast<size_t>(threads)) {
      running.push_back(waiting.front());
      waiting.erase(waiting.begin());
    }
    ++tick;
    for (Task& task : running) {
      if (--task.left == 0) --unfinished[task.position];
    }
    std::erase_if(running, [](const Task& task) { return task.left == 0; });
    if (heads_left > 0 && --head_time_left == 0) {
      waiting.push_back({launched, times(launched).second});
      head_time_left = times(launched).first;
      if (--heads_left == 0) ++launched;
    }
  }
  return tick;
}

Jobs random_jobs(Random& random, int64_t count, int64_t most_heads, int64_t largest = 20) {
  Jobs jobs(static_cast<size_t>(count));
  for (PipelineJob& job : jobs) {
    job.heads = static_cast<int>(random.integer(1, most_heads));
    job.device_ns = static_cast<double>(job.heads * random.integer(1, largest));
    job.cpu_ns = static_cast<double>(job.heads * random.integer(1, largest));
  }
  return jobs;
}

TEST(PipelinePredictionTest, AsAClockWouldShow) {
  Random random(7);
  for (int trial = 0; trial < 500; ++trial) {
    const Jobs jobs = random_jobs(random, random.integer(1, 12), 5);
    Order order = given(jobs);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.bits() % i]);
    const auto slots = static_cast<int>(random.integer(1, 5));
    const auto threads = static_cast<int>(random.integer(1, 4));
    EXPECT_EQ(makespan(jobs, order, slots, threads),
              static_cast<double>(ticking_makespan(jobs, order, slots, threads)))
        << "trial " << trial << ", " << slots << " slots, " << threads << " threads";
  }
}

TEST(PipelinePredictionTest, SmallCasesByHand) {
  const Jobs jobs = {{.device_ns = 4, .cpu_ns = 6, .heads = 2}, {.device_ns = 3, .cpu_ns = 1}};
  // Heads of job 0 at 2 and 4, CPU until 5 and 8; job 1 at 7, CPU until 9.
  EXPECT_EQ(makespan(jobs, {0, 1}), 9);
  EXPECT_EQ(makespan(jobs, {0, 1}, kUnlimited, 2), 8);  // CPU until 5 and 7; 8
  EXPECT_EQ(makespan(jobs, {0, 1}, 1), 12);             // job 1 starts at 8
  EXPECT_EQ(makespan(jobs, {1, 0}), 11);                // 3, 4; heads at 5 and 7, until 8 and 11
  EXPECT_EQ(makespan(jobs, {1}), 4);

  const PipelinePrediction p = predict(jobs, Order{0, 1}, kUnlimited, 2);
  EXPECT_EQ(p.device_busy_ns, 7);
  EXPECT_EQ(p.cpu_busy_ns, 7);
  EXPECT_EQ(p.cpu_threads, 2);
  EXPECT_DOUBLE_EQ(p.device_idle_share(), 1.0 / 8);
  EXPECT_DOUBLE_EQ(p.cpu_idle_share(), 9.0 / 16);
}

TEST(PipelinePredictionTest, SerialWaitsForEveryLaunch) {
  const Jobs jobs = {{.device_ns = 4, .cpu_ns = 6, .heads = 3}, {.device_ns = 3, .cpu_ns = 1}};
  EXPECT_EQ(predict_serial(jobs, 1).makespan_ns, 14);
  EXPECT_EQ(predict_serial(jobs, 2).makespan_ns, 4 + 4 + 3 + 1);
  EXPECT_EQ(predict_serial(jobs, 8).makespan_ns, 4 + 2 + 3 + 1);
  EXPECT_EQ(predict_serial(jobs, 8).cpu_busy_ns, 7);
  EXPECT_EQ(predict_serial(jobs, 0).makespan_ns, 14);
  EXPECT_EQ(predict_serial(Jobs{}, 1).makespan_ns, 0);
  Random random(8);
  for (int trial = 0; trial < 200; ++trial) {
    const Jobs some = random_jobs(random, random.integer(1, 10), 4);
    const auto threads = static_cast<int>(random.integer(1, 4));
    const auto slots = static_cast<int>(random.integer(1, 4));
    EXPECT_LE(makespan(some, given(some), slots, threads),
              predict_serial(some, threads).makespan_ns);
  }
}

TEST(PipelineOrderTest, JohnsonIsOptimalWithOneWorkerAndEnoughSlots) {
  Random random(9);
  for (int trial = 0; trial < 120; ++trial) {
    const int64_t count = trial < 100 ? random.integer(1, 6) : 7;
    const Jobs jobs = random_jobs(random, count, trial % 2 == 0 ? 1 : 5, trial % 3 == 0 ? 4 : 30);
    const Order order = johnson_order(jobs);
    ASSERT_TRUE(is_permutation_of(order, jobs));
    EXPECT_EQ(makespan(jobs, order), best_makespan(jobs, kUnlimited, 1)) << "trial " << trial;
    EXPECT_EQ(makespan(jobs, plan_order(jobs, kUnlimited, 1)), makespan(jobs, order));
  }
}

TEST(PipelineOrderTest, ExamplesOfTheOriginalScheduler) {
  // Scores of both heads are there after 10. Ranking and attending are the two machines: its greedy
  // order 1, 0 ends at 29, the one given at 22.
  const Jobs heads = {{.device_ns = 1, .cpu_ns = 10}, {.device_ns = 8, .cpu_ns = 1}};
  EXPECT_EQ(10 + makespan(heads, {1, 0}), 29);
  EXPECT_EQ(10 + makespan(heads, {0, 1}), 22);
  EXPECT_EQ(plan_order(heads, kUnlimited, 1), (Order{0, 1}));
  const Jobs reversed = {heads[1], heads[0]};
  EXPECT_EQ(plan_order(reversed, kUnlimited, 1), (Order{1, 0}));

  // Its streaming example ends at 17 either way: the order stays.
  const Jobs streaming = {{.device_ns = 5, .cpu_ns = 5}, {.device_ns = 7, .cpu_ns = 5}};
  EXPECT_EQ(makespan(streaming, {0, 1}), 17);
  EXPECT_EQ(makespan(streaming, {1, 0}), 17);
  EXPECT_EQ(plan_order(streaming, kUnlimited, 1), (Order{0, 1}));
}

TEST(PipelineOrderTest, HandOverByHeadCounts) {
  // Device and CPU alike in sum, but the first hands over after 1 and leaves 1.
  const Jobs jobs = {{.device_ns = 10, .cpu_ns = 10}, {.device_ns = 10, .cpu_ns = 10, .heads = 10}};
  EXPECT_EQ(makespan(jobs, plan_order(jobs, kUnlimited, 1)), best_makespan(jobs, kUnlimited, 1));
  const Jobs three = {{.device_ns = 12, .cpu_ns = 18, .heads = 1},
                      {.device_ns = 12, .cpu_ns = 18, .heads = 6},
                      {.device_ns = 6, .cpu_ns = 1, .heads = 1}};
  EXPECT_EQ(plan_order(three, kUnlimited, 1).front(), 1);
}

TEST(PipelineOrderTest, NeverPredictedToBeWorseThanTheOrderGiven) {
  Random random(10);
  for (int trial = 0; trial < 1000; ++trial) {
    Jobs jobs = random_jobs(random, random.integer(0, 40), 4, 1000);
    for (PipelineJob& job : jobs) {
      if (random.chance(0.2)) job.cpu_ns *= 10;
      if (random.chance(0.05)) job.cpu_ns = 0;
      if (random.chance(0.05)) job.device_ns = 0;
    }
    const auto slots = static_cast<int>(random.integer(1, 6));
    const auto threads = static_cast<int>(random.integer(1, 5));
    const Order order = plan_order(jobs, slots, threads);
    ASSERT_TRUE(is_permutation_of(order, jobs));
    const double planned = makespan(jobs, order, slots, threads);
    ASSERT_LE(planned, makespan(jobs, given(jobs), slots, threads));
    ASSERT_LE(planned, makespan(jobs, johnson_order(jobs, threads), slots, threads) * (1 + 1e-8));
    ASSERT_EQ(plan_order(jobs, slots, threads), order) << "the same again";
  }
}

TEST(PipelineOrderTest, CloseToTheBestWithFewSlotsAndSeveralWorkers) {
  Random random(11);
  double planned = 0.0;
  double best = 0.0;
  double unplanned = 0.0;
  for (int trial = 0; trial < 150; ++trial) {
    const Jobs jobs = random_jobs(random, random.integer(2, 6), 4, 50);
    const auto slots = static_cast<int>(random.integer(2, 4));
    const auto threads = static_cast<int>(random.integer(1, 4));
    const double least = best_makespan(jobs, slots, threads);
    planned += makespan(jobs, plan_order(jobs, slots, threads), slots, threads) / least;
    unplanned += makespan(jobs, given(jobs), slots, threads) / least;
    best += 1.0;
  }
  EXPECT_LT(planned, 1.02 * best);
  EXPECT_GT(unplanned, 1.04 * best) << "else this test shows nothing";
}

TEST(PipelineOrderTest, NothingToGainLeavesTheOrder) {
  EXPECT_TRUE(plan_order(Jobs{}, 2, 1).empty());
  EXPECT_TRUE(johnson_order(Jobs{}).empty());
  EXPECT_EQ(makespan(Jobs{}, {}), 0);
  EXPECT_EQ(predict(Jobs{}, Order{}, 1, 1).device_idle_share(), 0);
  EXPECT_EQ(predict(Jobs{}, Order{}, 1, 1).cpu_idle_share(), 0);
  const Jobs one = {{.device_ns = 3, .cpu_ns = 4}};
  EXPECT_EQ(plan_order(one, 1, 1), (Order{0}));
  const Jobs equal(9, {.device_ns = 0.3, .cpu_ns = 0.7, .heads = 3});
  const Jobs nothing(9, {.device_ns = 0, .cpu_ns = 0});
  Random random(12);
  const Jobs any = random_jobs(random, 9, 3);
  for (const int threads : {1, 3}) {
    EXPECT_EQ(plan_order(equal, 2, threads), given(equal));
    EXPECT_EQ(johnson_order(equal, threads), given(equal));
    EXPECT_EQ(plan_order(nothing, 2, threads), given(nothing));
  }
  EXPECT_EQ(plan_order(any, 1, 1).size(), 9U);
}

TEST(PipelineOrderTest, NumbersThatMakeNoSense) {
  Jobs jobs;
  const double numbers[] = {test::kNan, test::kInfinity, -test::kInfinity, -1.0, 1e308, 1e-308,
                            5.0};
  for (const double device : numbers) {
    for (const double cpu : numbers) {
      for (const int heads : {-1, 0, 3}) jobs.push_back({device, cpu, heads});
    }
  }
  for (const int slots : {-1, 0, 2, std::numeric_limits<int>::max()}) {
    for (const int threads : {-1, 0, 1, 3}) {
      const Order order = plan_order(jobs, slots, threads);
      ASSERT_TRUE(is_permutation_of(order, jobs));
      ASSERT_TRUE(is_permutation_of(johnson_order(jobs, threads), jobs));
      const PipelinePrediction p = predict(jobs, order, slots, threads);
      EXPECT_TRUE(std::isfinite(p.makespan_ns));
      EXPECT_GE(p.makespan_ns, 1e18);
      EXPECT_GE(p.cpu_idle_share(), 0);
      EXPECT_LE(p.device_idle_share(), 1);
      EXPECT_TRUE(std::isfinite(predict_serial(jobs, threads).makespan_ns));
    }
  }
  EXPECT_EQ(predict(Jobs{{.device_ns = -5, .cpu_ns = 3, .heads = 0}}, Order{0}, 0, 0).makespan_ns,
            3);
}

}  // namespace
}  // namespace shadowattn
