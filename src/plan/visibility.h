// What each query row may see: the mask, read once and boiled down to a few numbers a row and,
// where those do not say it all, a bit per key.
//
// Causal prompts, sliding windows and single sequences come out as `plain` rows (a run of keys
// without bias). Rows with holes (several sequences whose cells interleave, shifted contexts, rings
// after the wrap) keep bits: one per key is never more than lists of runs would need where runs are
// short, and two rows are compared, and a tile's rows united, 64 keys at a time. Only rows to whose
// logits something is added (ALiBi) look at the mask again.
#pragma once

#include <cstdint>
#include <limits>
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
  bool biased = false;  ///< something other than 0 is added to the logit of a key that it sees
  bool plain = false;   ///< sees all of [begin, end), and is not biased
  bool continues =
      false;  ///< same sequence as the row before: sees the same keys but for one or two
};

/// Keys begin ≤ key < end; none when begin ≥ end.
struct KeyRange {
  int64_t begin = 0;
  int64_t end = 0;
};

/// Keys per word of bits.
inline constexpr int64_t kWordKeys = 64;

class Visibility {
 public:
  /// Reads the mask of `call` with `executor`'s threads; its data must outlive this object.
  /// Throws std::bad_alloc.
  Visibility(const AttentionCall& call, Executor& executor);

  const RowVisibility& row(int64_t head, int64_t index) const { return rows_[at(head, index)]; }

  /// Whether two query heads see the same keys.
  bool same_keys(int64_t a, int64_t b) const { return a % mask_heads_ == b % mask_heads_; }
  /// And the same is added to their logits.
  bool same_for(int64_t a, int64_t b) const { return same_keys(a, b) && mask_.slopes == nullptr; }

  int64_t query_rows() const { return query_rows_; }
  /// Heads whose masks may differ: query head h has that of head h % mask_heads().
  int64_t mask_heads() const { return mask_heads_; }
  /// Every row is plain.
  bool all_plain() const { return all_plain_; }
  /// Some row is biased.
  bool any_biased() const { return any_biased_; }
  /// Union over all rows and heads.
  int32_t begin() const { return begin_; }
  int32_t end() const { return end_; }
  /// Largest number of keys that any row sees.
  int32_t max_visible() const { return max_visible_; }

  /// Which of the keys first … first + kWordKeys - 1 the row sees, the first in the lowest bit.
  /// `first` may be anything.
  uint64_t seen(int64_t head, int64_t index, int64_t first) const;
  bool sees(int64_t head, int64_t index, int64_t key) const {
    return (seen(head, index, key) & 1U) != 0;
  }

  /// What is added to the logit of `key`: -inf when the row does not see it.
  float bias(int64_t head, int64_t index, int64_t key) const;
  /// Of what the mask holds, with a slope.
  static float scaled_bias(float value, float slope) {
    return value == -std::numeric_limits<float>::infinity() ? value : slope * value;
  }

  /// What the mask itself holds for keys keys[0 … count-1], or first … first+count-1 when keys is
  /// null; only for biased rows. bias() is slope(head) times that.
  void mask_values(int64_t head, int64_t index, const int32_t* keys, int64_t first, int64_t count,
                   float* values) const;
  float slope(int64_t head) const { return mask_.slopes == nullptr ? 1.0F : mask_.slopes[head]; }

  /// For another call with a mask of the same content at the same place: its slopes are taken.
  void rebind(const AttentionCall& call) { mask_ = call.mask; }
  /// Whether `call` has a mask of the shape that was read, at the same place, and a look at the
  /// ends of what each row sees finds them where they were.
  bool still_holds(const AttentionCall& call) const;

 private:
  size_t at(int64_t head, int64_t index) const {
    return static_cast<size_t>(head % mask_heads_ * query_rows_ + index);
  }
  template <typename Step>
  void for_each_row(Executor& executor, const Step& step);
  void scan_row(int64_t mask_head, int64_t index);
  void count_row(int64_t mask_head, int64_t index);
  void link_row(int64_t mask_head, int64_t index);
  void find_own(size_t i);

  Mask mask_;
  int64_t query_rows_;
  int64_t mask_heads_;
  int64_t keys_;
  int64_t words_ = 0;                ///< of bits per row
  std::vector<RowVisibility> rows_;  ///< [mask_heads][query_rows]
  std::vector<uint64_t> bits_;       ///< [mask_heads][query_rows][words]; empty: all rows are plain
  int32_t begin_ = 0;
  int32_t end_ = 0;
  int32_t max_visible_ = 0;
  bool all_plain_ = true;
  bool any_biased_ = false;
};

}  // namespace shadowattn
