// How much softmax mass a token list would leave out: ranks are shares of mass (pilot_dot.h: the
// upper half of an f32), so counting them by size gives the mass below every threshold.
//
// Shares are counted in bins of an eighth of an octave and taken for the middle of their bin: at
// most 6.3 % off one by one, far less in sums, and the same on every machine, for counts are whole
// numbers and masses are added in the order of the bins.
#pragma once

#include <cstdint>

#include "kernels/scratch.h"

namespace shadowattn {

/// The share that a rank stands for, in f64. Zero for hidden and forced keys.
double rank_share(int16_t rank);

/// One object per thread, reused.
class MassHistogram {
 public:
  /// Throws std::bad_alloc.
  void reserve();

  /// Counts ranks[0 … n-1]; hidden and forced keys are left out.
  void count(const int16_t* ranks, int64_t n);

  int64_t counted() const { return counted_; }
  double mass() const { return mass_; }

  /// The most keys, smallest shares first, that together hold no more than `budget`.
  int64_t droppable(double budget) const;

  /// Mass of the `count` smallest.
  double mass_of_smallest(int64_t count) const;

  int64_t scratch_bytes() const { return bins_.bytes(); }

 private:
  int64_t counted_ = 0;
  double mass_ = 0.0;
  ScratchBuffer<uint32_t> bins_;  // [kBanks][kBins], added up in the first bank
};

}  // namespace shadowattn
