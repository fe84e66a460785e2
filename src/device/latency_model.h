// How long a real device would take, for npu-sim to take as long.
#pragma once

#include <chrono>
#include <cstdint>

#include "shadowattn/device.h"

namespace shadowattn {

/// launch = launch + Σ over heads of (head + operations / rate + bytes / operand rate).
struct LatencyModel {
  double compile_ns = 0.0;                ///< of one graph
  double launch_ns = 0.0;                 ///< once per launch
  double head_ns = 0.0;                   ///< once per head of a launch
  double operations_per_second = 0.0;     ///< INT8; a multiplication and an addition are two
  double operand_bytes_per_second = 0.0;  ///< queries, keys and scores; 0: costs nothing

  /// Of one head, without the launch's own time.
  double head_time_ns(const GraphSpec& spec) const {
    const double sums = static_cast<double>(spec.score_bytes()) * spec.dim;
    double ns = head_ns + 2.0 * sums / operations_per_second * 1e9;
    if (operand_bytes_per_second > 0.0) {
      const int64_t bytes = spec.query_bytes() + spec.key_bytes() + spec.score_bytes();
      ns += static_cast<double>(bytes) / operand_bytes_per_second * 1e9;
    }
    return ns;
  }
};

}  // namespace shadowattn
