// Lists by what a key changes in the output, and what goes to the far field (kernels/keep/keep.h),
// in one pass over the estimate while its scores are in the first caches.
#pragma once

#include <cstdint>
#include <span>

#include "attend/far_field.h"
#include "attend/value_pages.h"
#include "kernels/attend/attend.h"
#include "kernels/kernel_set.h"
#include "kernels/scratch.h"
#include "pilot/pilot.h"
#include "plan/list_rows.h"
#include "plan/visibility.h"
#include "select/token_lists.h"
#include "shadowattn/engine.h"

namespace shadowattn {

/// What one list keeps; pointers are valid until the next.
struct KeptKeys {
  TokenList list;
  FarField far;
  double change = 0.0;   ///< Σ over rows and dropped keys of p² · |v - mean|²
  double dropped = 0.0;  ///< Σ over rows of the share that goes to the far field
};

/// One object per thread, reused.
class PageKeeper {
 public:
  /// Grows the scratch so that `keep` allocates nothing. Throws std::bad_alloc.
  void reserve(int64_t max_rows, int64_t keys, int64_t value_dim);

  /// Looks at what the rows of `list`, all of one head, see of the pages of keys from `first_key`
  /// on.
  void start(const EngineOptions& options, const Visibility& visibility, const ListRows& list,
             int64_t first_key);
  /// [pages up to the last that some row sees] not 0: every row sees every key.
  std::span<const uint8_t> whole() const { return {whole_.data(), static_cast<size_t>(end_page_)}; }

  /// The keys that the rows keep: those whose `change` (keep.h) is above `threshold`, the
  /// sinks, the rows' own tokens, and all that are seen of a page that some row does not see whole,
  /// for its mean is not the row's to have. `estimate` holds the shares of the rows.
  KeptKeys keep(const AttentionCall& call, const KernelSet& kernels, const ListRows& list,
                const ValuePages& values, float threshold, const TileEstimate& estimate);

  int64_t scratch_bytes() const;

 private:
  void mark_seen(const Visibility& visibility, const ListRows& list);
  void add_far(const float* mean, int64_t page, int64_t count, int64_t value_dim,
               const AttendKernel& kernel);
  void collect(int64_t page, int64_t count);
  /// What the estimate gives the kept keys of a row.
  float kept_mass(int64_t row, const TileEstimate::ShareRows& shares) const;
  void finish(KeptKeys& kept, const ListRows& list, const TileEstimate::ShareRows& shares);

  int64_t rows_ = 0;  // padded
  int64_t first_key_ = 0;
  int64_t first_page_ = 0;
  int64_t end_page_ = 0;
  int64_t count_ = 0;
  ScratchBuffer<uint16_t> seen_;    // [pages]
  ScratchBuffer<uint16_t> forced_;  // [pages]
  ScratchBuffer<uint8_t> whole_;    // [pages] every row sees every key
  ScratchBuffer<uint16_t> kept_;    // [pages]
  ScratchBuffer<int32_t> indices_;
  ScratchBuffer<float> dropped_;    // [kPagesAtOnce][rows]
  ScratchBuffer<float> share_;      // [rows][kKeepPage]
  ScratchBuffer<float> far_;        // [rows][value_dim]
  ScratchBuffer<float> far_mass_;   // [rows]
  ScratchBuffer<float> kept_mass_;  // [rows]
};

}  // namespace shadowattn
