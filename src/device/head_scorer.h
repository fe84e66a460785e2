// The scores of one head of a launch, computed by the best INT8 kernel of this machine.
#pragma once

#include <atomic>
#include <cstdint>

#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/scratch.h"
#include "shadowattn/device.h"

namespace shadowattn {

/// Largest dim of the kernels; larger sums would not be exact.
inline constexpr int32_t kLargestScoredDim = 256;

/// One thread at a time.
class HeadScorer {
 public:
  HeadScorer();

  /// Scratch memory for heads of this shape. Throws std::bad_alloc.
  void reserve(const GraphSpec& spec);
  /// query [rows][dim], key [keys][dim] and scores [rows][keys], dense; spec as reserved, any rows
  /// and keys, dim at most kLargestScoredDim. Returns early, with part of the scores, soon after
  /// `stop` (may be null) became true.
  void compute(const GraphSpec& spec, const int8_t* query, const int8_t* key, int8_t* scores,
               const std::atomic<bool>* stop);

 private:
  const PilotDotKernel& kernel_;
  ScratchBuffer<std::byte> queries_;  ///< packed, all rows
  ScratchBuffer<std::byte> keys_;     ///< packed, one chunk
  ScratchBuffer<int8_t> padded_;      ///< operands whose dim was filled up with zeros
  ScratchBuffer<int8_t> chunk_;       ///< scores of a last chunk that is no whole number of blocks
};

}  // namespace shadowattn
