#include "simulate/call_schedule.h"

#include <algorithm>
#include <cmath>

namespace shadowattn::tool::simulate {
namespace {

/// The recurrence of src/device/pipeline_order.h, keeping what happens when.
class Scheduler {
 public:
  Scheduler(const CallWork& call, int cores)
      : call_(call),
        lanes_per_worker_(std::max(1, cores / call.workers)),
        worker_free_(static_cast<size_t>(call.workers), call.quantise_ns),
        device_free_(call.quantise_ns) {
    for (int worker = 0; worker < call.workers; ++worker) {
      add_cpu(TraceStage::kPrepare, worker, 0, call.quantise_ns);
    }
  }

  /// Starts launches in that order, each when one of `slots` is free; without a pipeline when
  /// everything before it has ended.
  TimelineCall run(const std::vector<int32_t>& order, bool serial) {
    std::vector<double> ends;
    for (const int32_t index : order) {
      const auto slots = static_cast<size_t>(call_.slots);
      if (serial && !ends.empty()) device_free_ = std::max(device_free_, ends.back());
      if (ends.size() >= slots) {
        device_free_ = std::max(device_free_, ends[ends.size() - slots]);
      }
      ends.push_back(run_launch(call_.launches[static_cast<size_t>(index)], serial));
    }
    double end = call_.quantise_ns;
    for (const double launch_end : ends) end = std::max(end, launch_end);
    timeline_.end_ns = std::llround(end);
    return std::move(timeline_);
  }

 private:
  double run_launch(const LaunchWork& launch, bool serial) {
    const int heads = std::max(1, launch.job.heads);
    const double begin = device_free_;
    const double device_end = begin + launch.job.device_ns;
    add(TraceStage::kDevice, kTraceDeviceLane, begin, device_end);
    double end = begin;
    for (int head = 1; head <= heads; ++head) {
      const double ready = serial ? device_end : begin + launch.job.device_ns / heads * head;
      end = std::max(end, run_head(launch, heads, ready));
    }
    device_free_ = device_end;
    return end;
  }

  /// The worker that is free first selects and attends for one head.
  double run_head(const LaunchWork& launch, int heads, double ready) {
    const auto first = std::min_element(worker_free_.begin(), worker_free_.end());
    const auto worker = static_cast<int>(first - worker_free_.begin());
    const double start = std::max(*first, ready);
    const double selected = start + launch.select_ns / heads;
    *first = selected + launch.attend_ns / heads;
    add_cpu(TraceStage::kSelect, worker, start, selected);
    add_cpu(TraceStage::kAttend, worker, selected, *first);
    return *first;
  }

  void add_cpu(TraceStage stage, int worker, double start, double end) {
    for (int lane = 0; lane < lanes_per_worker_; ++lane) {
      add(stage, worker * lanes_per_worker_ + lane, start, end);
    }
  }

  void add(TraceStage stage, Unit unit, double start, double end) {
    timeline_.events.push_back({stage, unit, std::llround(start), std::llround(end)});
  }

  const CallWork& call_;
  int lanes_per_worker_;
  std::vector<double> worker_free_;
  double device_free_;
  TimelineCall timeline_;
};

}  // namespace

TimelineCall schedule_call(const CallWork& call, PipelineMode pipeline, int cores) {
  return Scheduler(call, cores).run(launch_order(call, pipeline), pipeline == PipelineMode::kOff);
}

}  // namespace shadowattn::tool::simulate
