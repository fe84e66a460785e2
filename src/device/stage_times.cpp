#include "device/stage_times.h"

#include <algorithm>

namespace shadowattn {
namespace {

/// What an observation counts for when the next one comes: the last sixteen or so matter.
constexpr double kFade = 15.0 / 16.0;
constexpr double kOutlierFactor = 3.0;
/// Weight of "keep the present split", beside that of the observations: decides only when these
/// are all of one size within a few per cent.
constexpr double kInertia = 1e-4;

double cut_outlier(double ns, double predicted) {
  if (!(predicted > 0.0)) return ns;
  return std::clamp(ns, predicted / kOutlierFactor, predicted * kOutlierFactor);
}

double macs_of(const GraphSpec& spec) {
  return static_cast<double>(spec.heads) * spec.rows * spec.keys * spec.dim;
}

}  // namespace

void SmoothedRate::observe(int64_t units, int64_t ns) {
  if (units < 1 || ns < 0) return;
  const auto count = static_cast<double>(units);
  const double taken = cut_outlier(static_cast<double>(ns), rate() * count);
  units_ = kFade * units_ + count;
  ns_ = kFade * ns_ + taken;
}

void SmoothedLine::observe(double work, double ns) {
  if (!(work > 0.0) || !(ns > 0.0)) return;
  const double predicted = predict(work);
  const double taken = cut_outlier(ns, predicted);
  const double size = predicted > 0.0 ? predicted : taken;
  const double weight = 1.0 / (size * size);
  weights_ = kFade * weights_ + weight;
  work_ = kFade * work_ + weight * work;
  work_squared_ = kFade * work_squared_ + weight * work * work;
  ns_ = kFade * ns_ + weight * taken;
  work_ns_ = kFade * work_ns_ + weight * work * taken;
  solve();
}

/// Minimises Σ w·(ns - overhead - work·rate)² + inertia, where the inertia holds each parameter
/// with kInertia of the weight that the observations have on it.
void SmoothedLine::solve() {
  // Normal equations of the change from the present parameters.
  const double residual = ns_ - overhead_ * weights_ - rate_ * work_;
  const double work_residual = work_ns_ - overhead_ * work_ - rate_ * work_squared_;
  const double a = weights_ * (1.0 + kInertia);
  const double d = work_squared_ * (1.0 + kInertia);
  const double determinant = a * d - work_ * work_;
  if (!(determinant > 0.0)) return;
  overhead_ += (d * residual - work_ * work_residual) / determinant;
  rate_ += (a * work_residual - work_ * residual) / determinant;
  // Neither is negative; the other one then fits alone.
  if (rate_ < 0.0) {
    rate_ = 0.0;
    overhead_ = ns_ / weights_;
  } else if (overhead_ < 0.0) {
    overhead_ = 0.0;
    rate_ = work_ns_ / work_squared_;
  }
}

void StageTimes::observe_launch(const GraphSpec& spec, int64_t ns) {
  launch_.observe(macs_of(spec), static_cast<double>(ns));
}

void StageTimes::observe_cpu(int64_t pairs, int64_t kept, int64_t select_ns, int64_t attend_ns) {
  select_.observe(pairs, select_ns);
  attend_.observe(kept, attend_ns);
}

double StageTimes::device_ns(const GraphSpec& spec) const { return launch_.predict(macs_of(spec)); }

double StageTimes::cpu_ns(int64_t pairs, int64_t kept) const {
  return static_cast<double>(pairs) * select_.rate() + static_cast<double>(kept) * attend_.rate();
}

bool StageTimes::measured() const {
  return launch_.measured() && select_.measured() && attend_.measured();
}

}  // namespace shadowattn
