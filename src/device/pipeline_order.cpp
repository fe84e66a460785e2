#include "device/pipeline_order.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace shadowattn {
namespace {

/// Heads simulated in search of a better order: about ten microseconds.
constexpr int64_t kExchangeBudget = 2048;

double clean(double ns) { return ns > 0.0 ? std::min(ns, 1e18) : 0.0; }

/// A job in the terms of the simulation.
struct HeadTimes {
  double device = 0.0;  ///< of one head
  double cpu = 0.0;
  int heads = 1;

  bool operator==(const HeadTimes&) const = default;
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
  bool same(int32_t a, int32_t b) const {
    return jobs_[static_cast<size_t>(a)] == jobs_[static_cast<size_t>(b)];
  }
  /// Of all jobs: what one simulation costs.
  int64_t heads() const {
    int64_t heads = 0;
    for (const HeadTimes& job : jobs_) heads += job.heads;
    return heads;
  }

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

/// An order with its makespan.
struct Candidate {
  std::vector<int32_t> order;
  double makespan = 0.0;

  /// By more than rounding.
  bool longer_than(double other) const { return other < makespan * (1.0 - 1e-9); }
};

/// Exchanges two jobs wherever that ends sooner, neighbours first, until nothing does, nothing can,
/// or kExchangeBudget is spent. With few slots or several workers that finds what Johnson's order
/// misses: on random sets of up to 16 jobs nearly all of it.
void exchange(Simulation& simulation, Candidate& best) {
  const size_t count = best.order.size();
  const double bound = simulation.lower_bound();
  int64_t left = kExchangeBudget / std::max<int64_t>(1, simulation.heads());
  for (bool improved = true; improved;) {
    improved = false;
    for (size_t distance = 1; distance < count; ++distance) {
      for (size_t i = 0; i + distance < count; ++i) {
        int32_t& a = best.order[i];
        int32_t& b = best.order[i + distance];
        if (simulation.same(a, b)) continue;
        if (left-- <= 0 || !best.longer_than(bound)) return;
        std::swap(a, b);
        const double makespan = simulation.makespan(best.order);
        if (best.longer_than(makespan)) {
          best.makespan = makespan;
          improved = true;
        } else {
          std::swap(a, b);
        }
      }
    }
  }
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
  Simulation simulation(jobs, slots, cpu_threads);
  Candidate best = {given_order(jobs.size()), 0.0};
  best.makespan = simulation.makespan(best.order);
  if (!best.longer_than(simulation.lower_bound())) return std::move(best.order);
  Candidate johnson = {johnson_order(jobs, cpu_threads), 0.0};
  johnson.makespan = simulation.makespan(johnson.order);
  if (best.longer_than(johnson.makespan)) best = std::move(johnson);
  exchange(simulation, best);
  return std::move(best.order);
}

}  // namespace shadowattn
