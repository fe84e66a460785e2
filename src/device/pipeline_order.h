// In which order to launch, so that device and CPU end soonest.
//
// A job is one launch. The device does one job at a time, its heads one after the other, and hands
// each over when it is done. Each head is then a task for one CPU worker; workers take the tasks in
// the device's order. A job holds one of `slots` score buffers from its start on the device until
// its last task has ended, so a job can start only when the one `slots` before it has ended.
//
//   device  |--- 1 ---|--- 2 ---|-- 3 --|
//   CPU          |-1a-|-1b-|  |-2a-|-2b-|-3-|
//
// Two machines in a row that all jobs pass in the same order: without a limit on slots and with one
// worker the best order is Johnson's, found by sorting; with them it is one candidate among others,
// and whichever is predicted to end first wins. That can be the order given, never a worse one.
//
// Times in nanoseconds; what is not a number or negative counts as 0, what is above 10^18 as that.
// Pure functions, any thread; may throw std::bad_alloc.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace shadowattn {

struct PipelineJob {
  double device_ns = 0.0;  ///< of the whole launch, spread evenly over its heads
  double cpu_ns = 0.0;     ///< of one worker doing all its heads, likewise
  int heads = 1;
};

struct PipelinePrediction {
  double makespan_ns = 0.0;
  double device_busy_ns = 0.0;
  double cpu_busy_ns = 0.0;  ///< of all workers together
  int cpu_threads = 1;

  /// Shares of the makespan, 0 … 1; 0 when nothing takes time.
  double device_idle_share() const;
  double cpu_idle_share() const;
};

/// `order`: indices into `jobs`, each at most once. `slots`, `cpu_threads`: less than 1 counts
/// as 1.
PipelinePrediction predict(std::span<const PipelineJob> jobs, std::span<const int32_t> order,
                           int slots, int cpu_threads);

/// Without a pipeline: a job's CPU tasks start when its launch has ended, the next launch when they
/// have. The order does not matter.
PipelinePrediction predict_serial(std::span<const PipelineJob> jobs, int cpu_threads);

/// Johnson's order: first the jobs that give the CPU work soonest, last those that leave it the
/// least work after the device has ended. Optimal with unlimited slots and one worker; with several
/// workers, which count as one that is so many times as fast, a good guess. Jobs that are equal in
/// this keep their order.
std::vector<int32_t> johnson_order(std::span<const PipelineJob> jobs, int cpu_threads = 1);

/// The order with the smallest predicted makespan among the candidates; the one given (0, 1, …) at
/// a tie.
std::vector<int32_t> plan_order(std::span<const PipelineJob> jobs, int slots, int cpu_threads);

}  // namespace shadowattn
