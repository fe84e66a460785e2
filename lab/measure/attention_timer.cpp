#include "measure/attention_timer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "common/failure.h"
#include "common/interrupt.h"
#include "common/process_usage.h"
#include "openmp_executor.h"

namespace shadowattn::tool::measure {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWarmUpPasses = 2;  // the first compiles graphs and measures what pays
constexpr double kMostPasses = 10000;
constexpr int kTracedCalls = 5;

int64_t nanoseconds(Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

void stop_if_interrupted() {
  if (interrupted()) throw Failure("interrupted", interrupted_status());
}

void attend(Engine& engine, const AttentionCall& call, CallReport* report) {
  const Status status = engine.attend(call, report);
  if (!status.ok()) throw Failure("the engine failed: " + status.message());
}

void add(const CallReport& call, Pass& pass) {
  const DeviceReport& device = call.device;
  pass.simulation_cpu_ns += static_cast<double>(device.simulation_cpu_ns);
  pass.pilot_ns += static_cast<double>(call.pilot_ns);
  pass.select_ns += static_cast<double>(call.select_ns);
  pass.attend_ns += static_cast<double>(call.attend_ns);
  pass.visible_pairs += static_cast<double>(call.visible_pairs);
  pass.kept_pairs += static_cast<double>(call.kept_pairs);
  const bool wanted =
      call.dense_reason == DenseReason::kNone || call.dense_reason == DenseReason::kRequested;
  pass.dense_calls += wanted ? 0 : 1;
  pass.launches += static_cast<double>(device.launches);
  pass.late_launches += static_cast<double>(device.late_launches);
  pass.device_busy_ns += static_cast<double>(device.busy_ns);
  pass.device_wait_ns += static_cast<double>(device.wait_ns);
  pass.device_span_ns += static_cast<double>(device.span_ns);
}

constexpr double Pass::*kFigures[] = {
    &Pass::wall_ns,        &Pass::cpu_ns,         &Pass::simulation_cpu_ns, &Pass::pilot_ns,
    &Pass::select_ns,      &Pass::attend_ns,      &Pass::visible_pairs,     &Pass::kept_pairs,
    &Pass::dense_calls,    &Pass::launches,       &Pass::late_launches,     &Pass::device_busy_ns,
    &Pass::device_wait_ns, &Pass::device_span_ns,
};

}  // namespace

AttentionTimer::AttentionTimer(std::span<const RecordedCall> calls, int threads)
    : cpu_(threads), executor_(plugin::make_host_executor(threads)) {
  if (!executor_) throw Failure("cannot start " + std::to_string(threads) + " threads");
  for (const RecordedCall& call : calls) {
    problems_.push_back({AttentionProblem(call, cpu_), call.layer});
  }
}

std::optional<Engine> AttentionTimer::make_engine(const TimedMethod& method) const {
  if (!method.engine) return std::nullopt;
  Result<Engine> engine = Engine::create(*method.engine, executor_.get());
  if (!engine.ok()) throw Failure(method.id + ": " + engine.status().message());
  return std::move(engine).value();
}

Pass AttentionTimer::pass(std::optional<Engine>& engine, std::string& note) const {
  Pass sums;
  for (const Problem& problem : problems_) {
    stop_if_interrupted();
    if (!engine) {
      problem.operands.run_ggml();
      continue;
    }
    AttentionCall call = problem.operands.call();
    call.layer = problem.layer;
    CallReport report;
    attend(*engine, call, &report);
    add(report, sums);
    if (!report.device.note.empty()) note = report.device.note;
  }
  return sums;
}

Pass AttentionTimer::sample(std::optional<Engine>& engine, const TimingPlan& plan,
                            MethodPasses& result) const {
  EnergyReading energy;
  if (plan.energy != nullptr) energy = plan.energy->read();
  Pass mean;
  const double cpu_before = cpu_seconds();
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < result.passes; ++i) {
    const Pass one = pass(engine, result.note);
    for (const auto figure : kFigures) mean.*figure += one.*figure;
  }
  mean.wall_ns = static_cast<double>(nanoseconds(Clock::now()) - nanoseconds(start));
  mean.cpu_ns = (cpu_seconds() - cpu_before) * 1e9 - mean.simulation_cpu_ns;
  for (const auto figure : kFigures) mean.*figure /= result.passes;
  if (plan.energy != nullptr) {
    mean.joules = plan.energy->joules(energy, plan.energy->read()) / result.passes;
  }
  return mean;
}

std::vector<MethodPasses> AttentionTimer::measure(
    std::span<const TimedMethod> methods, const TimingPlan& plan,
    const std::function<void(double done)>& on_sample) const {
  std::vector<std::optional<Engine>> engines;
  std::vector<MethodPasses> results;
  const double steps = static_cast<double>(methods.size()) * (plan.rounds + 1);
  double done = 0;
  for (const TimedMethod& method : methods) {
    engines.push_back(make_engine(method));
    results.push_back({method.id, 1, {}, ""});
    double last_ns = 0;
    for (int i = 0; i < kWarmUpPasses; ++i) {
      last_ns = sample(engines.back(), {}, results.back()).wall_ns;
    }
    const double repeats = std::ceil(plan.least_sample_ns / std::max(last_ns, 1.0));
    results.back().passes = static_cast<int>(std::clamp(repeats, 1.0, kMostPasses));
    on_sample(++done / steps);
  }
  for (int round = 0; round < plan.rounds; ++round) {
    for (size_t turn = 0; turn < methods.size(); ++turn) {
      const size_t i = round % 2 == 0 ? turn : methods.size() - 1 - turn;
      results[i].samples.push_back(sample(engines[i], plan, results[i]));
      on_sample(++done / steps);
    }
  }
  return results;
}

TracedCall AttentionTimer::trace(const EngineOptions& options) const {
  std::optional<Engine> engine = make_engine({"trace", options});
  AttentionCall call = problems_.front().operands.call();
  call.layer = problems_.front().layer;
  for (int i = 0; i < kWarmUpPasses; ++i) attend(*engine, call, nullptr);
  Trace trace;
  engine->set_trace(&trace);
  std::array<TracedCall, kTracedCalls> traced;
  for (TracedCall& one : traced) {
    stop_if_interrupted();
    one.start_ns = nanoseconds(Clock::now());
    attend(*engine, call, nullptr);
    one.end_ns = nanoseconds(Clock::now());
    one.events = trace.take();
  }
  engine->set_trace(nullptr);
  const auto middle = traced.begin() + kTracedCalls / 2;
  std::nth_element(traced.begin(), middle, traced.end(), [](const auto& a, const auto& b) {
    return a.end_ns - a.start_ns < b.end_ns - b.start_ns;
  });
  return *middle;
}

}  // namespace shadowattn::tool::measure
