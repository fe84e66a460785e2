// What is subtracted from the keys of a head before they are quantised: their mean, where that
// makes them smaller. Keys that share a large part (models with a bias of the keys have such) would
// spend most of their 8 bits on it.
//
// q·(k - m) = q·k - q·m: all logits of a row move by the same amount, so that neither the order of
// its keys nor its softmax changes. Any m will do, so a sample of the keys is enough:
//
//   s[i] = key begin + step/2 + i · step,  step = ceil(keys / kMeanSample)
//   m    = Σ s / count, if Σ absmax(s - m) < Σ absmax(s), else nothing is subtracted
//
// The comparison is for keys among which a few are enormous: their mean would make all the others
// larger.
#pragma once

#include <cstdint>

#include "kernels/quantize/quantize.h"
#include "kernels/scratch.h"
#include "shadowattn/attention.h"

namespace shadowattn {

/// Keys looked at, at most.
inline constexpr int64_t kMeanSample = 1024;

/// One object per KV head at a time, reused.
class KeyMean {
 public:
  /// Grows the scratch so that `choose` allocates nothing. Throws std::bad_alloc.
  void reserve(int64_t dim) {
    mean_.reserve(dim);
    scale_.reserve(kMeanSample);
  }

  /// The vector [dim] to subtract from keys [begin, end), or null; valid until the next call. Null
  /// when a sampled key, or what it takes, is not finite.
  const float* choose(const AttentionCall& call, int64_t kv_head, int64_t begin, int64_t end,
                      const QuantizeKernel& quantize);

  int64_t scratch_bytes() const { return mean_.bytes() + scale_.bytes(); }

 private:
  ScratchBuffer<float> mean_;   // [dim]
  ScratchBuffer<float> scale_;  // [kMeanSample]
};

/// QuantizeFunctions::rows of rows less `mean` (null: zeros); the scale of a row is that of
/// row_scales, its elements those of `fixed` with the inverse of the scale. False when a row is not
/// finite.
bool quantize_centred(const QuantizeFunctions& quantize, const void* src, int64_t stride,
                      int64_t rows, int64_t dim, const float* mean, int8_t* q, float* scale);

}  // namespace shadowattn
