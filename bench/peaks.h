// What this machine can do at most, measured: the yardstick for kernels.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shadowattn/executor.h"

namespace shadowattn::bench {

enum class PeakKind { kF32, kInt8, kInt16, kBf16 };

/// A peak kernel that this machine can run. An operation is one multiplication or one addition.
struct PeakLoop {
  PeakKind kind;
  std::string_view isa;
  int64_t ops_per_step;
  void (*run)(int64_t steps);
};

/// Best ISA last within a kind.
std::vector<PeakLoop> peak_loops();

std::string_view peak_name(PeakKind kind);  ///< "f32 FMA", "INT8 dot", …

struct Peak {
  PeakKind kind;
  std::string_view isa;
  double ops_per_second = 0;  ///< of all threads together
};

struct MachinePeaks {
  int threads = 1;
  std::vector<Peak> arithmetic;
  double read_bytes_per_second = 0;  ///< from memory, all threads
  double clock_hz = 0;               ///< of one busy core

  /// The fastest of its kind; 0 when there is none.
  double best(PeakKind kind) const;
};

/// Takes about two seconds. `executor` says how many threads work at once.
MachinePeaks measure_peaks(Executor& executor);

}  // namespace shadowattn::bench
