// How good a choice of tokens by an estimate is: recall and retained softmax mass of one row's
// top-k.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace shadowattn::tool::measure {

/// What the k keys with the largest estimates are worth. When the last of them tie with keys left
/// out, which of these are kept is open: then the expectation over all choices.
struct TopKQuality {
  double recall = 0;         ///< share of the k keys with the largest logits, in [0, 1]
  double mass = 0;           ///< share of the softmax mass
  double relative_mass = 0;  ///< … of what the k largest logits hold
  double oracle_mass = 0;    ///< what the k largest logits hold
  int64_t tied = 0;          ///< of the k, those equal to one that was left out
};

/// The logits of one row's visible keys.
class RowReference {
 public:
  /// `logits`: finite, at least one. Throws std::bad_alloc.
  explicit RowReference(std::span<const double> logits);

  int64_t keys() const { return static_cast<int64_t>(share_.size()); }
  /// Of the softmax mass, by key.
  std::span<const double> shares() const { return share_; }
  /// [k - 1]: the mass of the k largest logits.
  std::span<const double> best() const { return best_; }
  /// `estimate`: [keys()], larger is better, no NaN; 1 ≤ k ≤ keys(). Among equal logits the first
  /// keys are the largest. Throws std::bad_alloc.
  TopKQuality quality(std::span<const float> estimate, int64_t k) const;
  /// `weight`: [keys()], the chance in [0, 1] that a key is kept; k is their sum, rounded, at
  /// least 1.
  TopKQuality quality_of(std::span<const float> weight) const;

 private:
  std::vector<double> share_;  // of the softmax mass
  std::vector<int32_t> rank_;  // 0: the largest logit
  std::vector<double> best_;   // [k - 1]: mass of the k largest logits
};

/// Mean, first percentile and the smallest mean of a head, of figures of rows.
struct RowFigures {
  double mean = 0;
  double first_percentile = 0;  ///< the largest value that at most 1 % of the rows are below
  double worst_head = 0;
};

/// `values[h]`: of the rows of head h; heads without rows do not count. All zero without rows.
RowFigures row_figures(std::span<const std::vector<double>> values);

}  // namespace shadowattn::tool::measure
