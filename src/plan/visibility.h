// What each query row may see: the mask, read once per call and boiled down to a few numbers a row.
//
// Causal prompts, sliding windows and single sequences come out as `plain` rows (a run of keys
// without bias), for which the mask is never looked at again. Everything else (several sequences
// whose cells interleave, shifted contexts, ALiBi) keeps its pointer to the mask.
#pragma once

#include <cstdint>
#include <vector>

#include "shadowattn/attention.h"
#include "shadowattn/executor.h"

namespace shadowattn {

struct RowVisibility {
  int32_t begin = 0;    ///< every visible key is in [begin, end)
  int32_t end = 0;      ///< begin == end: the row sees nothing
  int32_t visible = 0;  ///< how many keys it sees
  /// Key of the row's own token, -1 when there is none (no mask). With an additive mask it is the
  /// key that the row sees and the row before does not; for the first row of a sequence the one
  /// before the next row's; failing both the last visible key.
  int32_t own = -1;
  bool plain = false;  ///< sees all of [begin, end), and no bias is added
  bool continues =
      false;  ///< same sequence as the row before: sees the same keys but for one or two
};

/// How a run of keys looks to a row.
enum class Cover {
  kFull,     ///< all visible, no bias
  kPartial,  ///< some hidden or biased
  kHidden,   ///< none visible
};

class Visibility {
 public:
  /// Reads the mask of `call` (which must outlive this object) with `executor`'s threads.
  /// Throws std::bad_alloc.
  Visibility(const AttentionCall& call, Executor& executor);

  const RowVisibility& row(int64_t head, int64_t index) const {
    return rows_[static_cast<size_t>(head % mask_heads_ * query_rows_ + index)];
  }

  /// Whether two query heads have the same mask and bias.
  bool same_for(int64_t a, int64_t b) const {
    return a % mask_heads_ == b % mask_heads_ && call_.mask.slopes == nullptr;
  }

  int64_t query_rows() const { return query_rows_; }
  /// Every row is plain.
  bool all_plain() const { return all_plain_; }
  /// Union over all rows and heads.
  int32_t begin() const { return begin_; }
  int32_t end() const { return end_; }
  /// Largest number of keys that any row sees.
  int32_t max_visible() const { return max_visible_; }

  /// Of the keys index[0 … count-1], ascending (or first … first+count-1 when index is null).
  /// kHidden is only reported for plain rows.
  Cover cover(int64_t head, int64_t index, const int32_t* keys, int64_t first, int64_t count) const;

  /// What is added to the logit of `key`: -inf when the row does not see it.
  float bias(int64_t head, int64_t index, int64_t key) const;

  bool sees(int64_t head, int64_t index, int64_t key) const;

 private:
  void scan_row(int64_t mask_head, int64_t index);
  void link_row(int64_t mask_head, int64_t index);

  const AttentionCall& call_;
  int64_t query_rows_;
  int64_t mask_heads_;
  int64_t keys_;
  std::vector<RowVisibility> rows_;  // [mask_heads][query_rows]
  int32_t begin_ = 0;
  int32_t end_ = 0;
  int32_t max_visible_ = 0;
  bool all_plain_ = true;
};

}  // namespace shadowattn
