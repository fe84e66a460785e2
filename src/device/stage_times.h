// What the two stages of the pipeline cost on this machine, learnt from what they took so far.
//
//   device: ns of a launch       = overhead + heads · rows · keys · dim · mac_ns
//   CPU:    ns of selecting      = pairs · select_ns      pairs: (row, key) pairs ranked
//           ns of attending      = kept · attend_ns       kept: pairs attended to
//
// Not thread-safe.
#pragma once

#include <cstdint>

#include "shadowattn/device.h"

namespace shadowattn {

/// Nanoseconds per unit of work, as a mean that forgets and cuts outliers.
class SmoothedRate {
 public:
  /// Nothing happens unless `units` is positive and `ns` not negative.
  void observe(int64_t units, int64_t ns);
  /// 0 before the first observation.
  double rate() const { return units_ > 0.0 ? ns_ / units_ : 0.0; }
  bool measured() const { return units_ > 0.0; }

 private:
  double units_ = 0.0;
  double ns_ = 0.0;
};

/// overhead + work · rate, fitted by least squares of relative errors to observations that fade.
///
/// An observation is first cut to within kOutlierFactor of the prediction, so that one which the
/// system disturbed moves it by little, while a lasting change is followed in steps. As long as all
/// work was of one size, overhead and rate cannot be told apart: half of the time each to begin
/// with, and the split is kept whenever the sizes of late do not tell.
class SmoothedLine {
 public:
  /// Nothing happens unless both are positive.
  void observe(double work, double ns);
  /// 0 before the first observation.
  double predict(double work) const { return overhead_ + work * rate_; }
  bool measured() const { return weights_ > 0.0; }
  double overhead() const { return overhead_; }
  double rate() const { return rate_; }

 private:
  void solve();

  double overhead_ = 0.0;
  double rate_ = 0.0;
  /// Σ w, Σ w·work, Σ w·work², Σ w·ns, Σ w·work·ns
  double weights_ = 0.0;
  double work_ = 0.0;
  double work_squared_ = 0.0;
  double ns_ = 0.0;
  double work_ns_ = 0.0;
};

class StageTimes {
 public:
  /// A launch of the graph kept the device busy for `ns` (first head's start to last head's end).
  void observe_launch(const GraphSpec& spec, int64_t ns);
  /// One worker ranked `pairs` and attended to `kept` of them; their times are apart.
  void observe_cpu(int64_t pairs, int64_t kept, int64_t select_ns, int64_t attend_ns);

  /// Of a launch with all its heads; 0 before the first observation, as is cpu_ns.
  double device_ns(const GraphSpec& spec) const;
  double cpu_ns(int64_t pairs, int64_t kept) const;
  /// Whether all costs have been seen at least once.
  bool measured() const;

 private:
  SmoothedLine launch_;
  SmoothedRate select_;
  SmoothedRate attend_;
};

}  // namespace shadowattn
