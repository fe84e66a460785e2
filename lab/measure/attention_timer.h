// How long attention calls take by several methods, which take turns.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/recording.h"
#include "measure/attention_problem.h"
#include "measure/energy_counter.h"
#include "shadowattn/engine.h"
#include "shadowattn/executor.h"
#include "shadowattn/trace.h"

namespace shadowattn::tool::measure {

struct TimedMethod {
  std::string id;                       ///< for the results; none twice
  std::optional<EngineOptions> engine;  ///< none: ggml's own kernel
};

/// What one pass through all calls took and did: sums over the calls. Times in nanoseconds.
struct Pass {
  double wall_ns = 0;
  double cpu_ns = 0;             ///< processor time of the process, without playing a device
  double simulation_cpu_ns = 0;  ///< … of playing it
  std::optional<double> joules;  ///< of the processor; none: not counted
  // By the engine's reports; zero for ggml. Stages are sums over threads.
  double pilot_ns = 0;
  double select_ns = 0;
  double attend_ns = 0;
  double visible_pairs = 0;
  double kept_pairs = 0;
  double dense_calls = 0;    ///< that were dense without having been asked for
  double launches = 0;       ///< of a device
  double late_launches = 0;  ///< of these played slower than the device that is simulated
  double device_busy_ns = 0;
  double device_wait_ns = 0;  ///< CPU threads waited for it
  double device_span_ns = 0;  ///< from the first launch to the last attended list
};

struct MethodPasses {
  std::string id;
  int passes = 1;             ///< that each sample is the mean of
  std::vector<Pass> samples;  ///< sample i of each method was taken in round i
  std::string note;           ///< why a device did not do its part; else empty
};

struct TimingPlan {
  int rounds = 5;
  double least_sample_ns = 20e6;          ///< shorter passes are repeated within a sample
  const EnergyCounter* energy = nullptr;  ///< read before and after each sample; null: not
};

/// One call on a time line, in nanoseconds of steady_clock.
struct TracedCall {
  int64_t start_ns = 0;
  int64_t end_ns = 0;
  std::vector<TraceEvent> events;
};

/// The calls' operands, and the threads that compute them: those of the thread that makes it and
/// uses it. Throws Failure when a call cannot be computed, and on Ctrl-C.
class AttentionTimer {
 public:
  /// Copies the operands; their layers tell the engine what it may learn from call to call.
  AttentionTimer(std::span<const RecordedCall> calls, int threads);

  /// Every method warms up, then they take turns, every second round in the opposite order, so
  /// that what drifts hits all alike. `on_sample` hears of the share done, 0 to 1.
  std::vector<MethodPasses> measure(std::span<const TimedMethod> methods, const TimingPlan& plan,
                                    const std::function<void(double done)>& on_sample) const;

  /// The first call some more times, after a warm-up; the one that took the median time.
  TracedCall trace(const EngineOptions& options) const;

 private:
  struct Problem {
    AttentionProblem operands;
    int layer;
  };

  std::optional<Engine> make_engine(const TimedMethod& method) const;
  Pass pass(std::optional<Engine>& engine, std::string& note) const;
  Pass sample(std::optional<Engine>& engine, const TimingPlan& plan, MethodPasses& result) const;

  GgmlCpu cpu_;
  std::unique_ptr<Executor> executor_;
  std::vector<Problem> problems_;
};

}  // namespace shadowattn::tool::measure
