#include "plan/pipeline_order.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace shadowattn {
namespace {

double clean(double ns) { return ns > 0.0 ? std::min(ns, 1e18) : 0.0; }

/// A job in the terms of the simulation.
struct HeadTimes {
  double device = 0.0;  ///< of one head
  double cpu = 0.0;
  int heads = 1;
};

HeadTimes head_times(const PipelineJob& job) {
  const int heads = std::max(1, job.heads);
  return {clean(job.device_ns) / heads, clean(job.cpu_ns) / heads, heads};
}

/// When `count` workers are free next.
class Workers {
 public:
  explicit Workers(int count) : free_(static_cast<size_t>(std::max(1, count)), 0.0) {}

  void reset() { std::fill(free_.begin(), free_.end(), 0.0); }
  int count() const { return static_cast<int>(free_.size()); }

  /// The worker that is free first does a task; returns when it ends.
  double run(double ready, double ns) {
    if (free_.size() == 1) return free_[0] = std::max(free_[0], ready) + ns;
    std::pop_heap(free_.begin(), free_.end(), std::greater<>());
    const double end = std::max(free_.back(), ready) + ns;
    free_.back() = end;
    std::push_heap(free_.begin(), free_.end(), std::greater<>());
    return end;
  }

 private:
  std::vector<double> free_;  ///< a heap, the earliest first
};

/// Simulates orders of the same jobs; keeps its memory between them.
class Simulation {
 public:
  Simulation(std::span<const PipelineJob> jobs, int slots, int cpu_threads)
      : slots_(static_cast<size_t>(std::max(1, slots))), workers_(cpu_threads) {
    jobs_.reserve(jobs.size());
    for (const PipelineJob& job : jobs) jobs_.push_back(head_times(job));
    ends_.resize(jobs.size());
  }

  int cpu_threads() const { return workers_.count(); }
  size_t size() const { return jobs_.size(); }

  double makespan(std::span<const int32_t> order) {
    workers_.reset();
    double device_free = 0.0;
    double makespan = 0.0;
    for (size_t i = 0; i < order.size(); ++i) {
      const HeadTimes& job = jobs_[static_cast<size_t>(order[i])];
      if (i >= slots_) device_free = std::max(device_free, ends_[i - slots_]);
      double end = device_free;
      for (int head = 0; head < job.heads; ++head) {
        device_free += job.device;
        end = std::max(end, workers_.run(device_free, job.cpu));
      }
      ends_[i] = end;
      makespan = std::max(makespan, end);
    }
    return makespan;
  }

  /// No order ends sooner: each machine does all its work, and waits at one of its ends for the
  /// other one at least once.
  double lower_bound() const {
    double device = 0.0;
    double cpu = 0.0;
    double least_device = 1e300;
    double least_cpu = 1e300;
    for (const HeadTimes& job : jobs_) {
      device += job.device * job.heads;
      cpu += job.cpu * job.heads;
      least_device = std::min(least_device, job.device);
      least_cpu = std::min(least_cpu, job.cpu);
    }
    if (jobs_.empty()) return 0.0;
    return std::max(device + least_cpu, least_device + cpu / cpu_threads());
  }

 private:
  size_t slots_;
  Workers workers_;
  std::vector<HeadTimes> jobs_;
  std::vector<double> ends_;
};

std::vector<int32_t> given_order(size_t jobs) {
  std::vector<int32_t> order(jobs);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

double idle_share(double busy, double available) {
  return available > 0.0 ? std::clamp(1.0 - busy / available, 0.0, 1.0) : 0.0;
}

void add_busy(const PipelineJob& job, PipelinePrediction& prediction) {
  prediction.device_busy_ns += clean(job.device_ns);
  prediction.cpu_busy_ns += clean(job.cpu_ns);
}

/// Johnson's two numbers of a job whose heads are handed over one by one (Mitten's rule for jobs
/// that overlap themselves): how long the CPU must wait after the device has begun the job so that
/// it can then do it without a pause, and how much of the CPU's work that leaves after the device.
struct Lags {
  double start = 0.0;
  double stop = 0.0;
  int32_t index = 0;
};

Lags lags_of(const HeadTimes& job, int32_t index) {
  const double others = job.heads - 1;
  if (job.device < job.cpu) {
    return {job.device, job.cpu + others * (job.cpu - job.device), index};
  }
  return {job.device + others * (job.device - job.cpu), job.cpu, index};
}

}  // namespace

double PipelinePrediction::device_idle_share() const {
  return idle_share(device_busy_ns, makespan_ns);
}

double PipelinePrediction::cpu_idle_share() const {
  return idle_share(cpu_busy_ns, makespan_ns * cpu_threads);
}

PipelinePrediction predict(std::span<const PipelineJob> jobs, std::span<const int32_t> order,
                           int slots, int cpu_threads) {
  Simulation simulation(jobs, slots, cpu_threads);
  PipelinePrediction prediction;
  prediction.cpu_threads = simulation.cpu_threads();
  prediction.makespan_ns = simulation.makespan(order);
  for (const int32_t index : order) add_busy(jobs[static_cast<size_t>(index)], prediction);
  return prediction;
}

PipelinePrediction predict_serial(std::span<const PipelineJob> jobs, int cpu_threads) {
  PipelinePrediction prediction;
  prediction.cpu_threads = std::max(1, cpu_threads);
  for (const PipelineJob& job : jobs) {
    const HeadTimes times = head_times(job);
    const int rounds = (times.heads - 1) / prediction.cpu_threads + 1;
    prediction.makespan_ns += times.device * times.heads + times.cpu * rounds;
    add_busy(job, prediction);
  }
  return prediction;
}

std::vector<int32_t> johnson_order(std::span<const PipelineJob> jobs, int cpu_threads) {
  std::vector<Lags> lags;
  lags.reserve(jobs.size());
  for (size_t i = 0; i < jobs.size(); ++i) {
    HeadTimes times = head_times(jobs[i]);
    times.cpu /= std::max(1, cpu_threads);
    lags.push_back(lags_of(times, static_cast<int32_t>(i)));
  }
  // Those that start the CPU sooner than they occupy it, the soonest first; then the others, those
  // that leave it the least work last.
  std::sort(lags.begin(), lags.end(), [](const Lags& a, const Lags& b) {
    const bool a_first = a.start < a.stop;
    const bool b_first = b.start < b.stop;
    if (a_first != b_first) return a_first;
    if (a_first && a.start != b.start) return a.start < b.start;
    if (!a_first && a.stop != b.stop) return a.stop > b.stop;
    return a.index < b.index;
  });
  std::vector<int32_t> order;
  order.reserve(lags.size());
  for (const Lags& job : lags) order.push_back(job.index);
  return order;
}

std::vector<int32_t> plan_order(std::span<const PipelineJob> jobs, int slots, int cpu_threads) {
  std::vector<int32_t> best = given_order(jobs.size());
  if (jobs.size() < 2) return best;
  Simulation simulation(jobs, slots, cpu_threads);
  const double given = simulation.makespan(best);
  if (given <= simulation.lower_bound()) return best;
  std::vector<int32_t> johnson = johnson_order(jobs, cpu_threads);
  if (simulation.makespan(johnson) < given) best = std::move(johnson);
  return best;
}

}  // namespace shadowattn
