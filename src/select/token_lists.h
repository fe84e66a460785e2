// From the scores of a list's rows to the list: the most important keys, and those that are always
// in (sinks, recent tokens, each row's own).
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/scratch.h"
#include "kernels/select/select.h"
#include "pilot/score_rows.h"
#include "plan/list_budget.h"
#include "plan/list_rows.h"
#include "plan/visibility.h"
#include "select/mass_histogram.h"
#include "shadowattn/engine.h"

namespace shadowattn {

/// Ascending absolute key indices: keys[0 … count-1], or first … first+count-1 when keys is null.
struct TokenList {
  const int32_t* keys = nullptr;
  int64_t first = 0;
  int64_t count = 0;

  int64_t key(int64_t position) const {
    return keys != nullptr ? keys[position] : first + position;
  }
  TokenList part(int64_t position, int64_t length) const {
    return keys != nullptr ? TokenList{keys + position, 0, length}
                           : TokenList{nullptr, first + position, length};
  }
};

/// Lists that would keep more than this share of what their rows see keep all of it: it is not
/// worth gathering.
inline constexpr double kNearlyAll = 0.9;

/// A rank for each key that a list's rows may see.
struct KeyRanks {
  /// [padded_scores(n)], hidden beyond n and where no row sees the key; overwritten by `select`.
  /// With an aim for the mass ranks are shares (pilot_dot.h).
  int16_t* rank = nullptr;
  int64_t first_key = 0;
  /// What all together can hold. Infinity where shares are known but for a factor, as those of a
  /// single row always are, and those of TokenSelector::merge.
  double most_mass = std::numeric_limits<double>::infinity();
};

/// KeyRanks::most_mass of shares that were added up over `rows` rows.
inline double most_mass_of(int64_t rows) {
  return rows == 1 ? std::numeric_limits<double>::infinity() : static_cast<double>(rows);
}

/// Builds one list at a time. One object per thread, reused.
class TokenSelector {
 public:
  /// Grows the scratch so that `select` allocates nothing. Throws std::bad_alloc.
  void reserve(int64_t keys);

  /// The list of `list`'s rows. Valid until the next call. With v the largest number of keys that
  /// one of the rows sees it keeps budget.most(v) keys, or, with an aim for the mass, the fewest of
  /// these that by their ranks leave budget.attn_error of all mass out; and more when more are
  /// always in. Where it would keep nearly all keys it keeps all.
  TokenList select(const EngineOptions& options, const ListBudget& budget,
                   const Visibility& visibility, const ListRows& list, const KeyRanks& ranks,
                   const SelectKernel& kernel);

  /// Share of mass that the last list leaves out by its ranks; 0 without an aim for the mass.
  double estimated_lost() const { return estimated_lost_; }

  /// A rank per key from the scores of `list`'s rows, which are rows `first_row` and following of
  /// `scores`: the largest share of softmax mass that any of them gives it. For `select`. `shares`:
  /// as the bits of shares, for an aim for the mass; else as scores.
  int16_t* merge(const Visibility& visibility, const ListRows& list, int64_t first_row,
                 const ScoreRows& scores, bool shares, const SelectKernel& kernel);

  int64_t scratch_bytes() const {
    return importance_.bytes() + indices_.bytes() + histogram_.scratch_bytes();
  }

 private:
  /// How many keys to keep of n ranks, once the forced ones are marked.
  int64_t count_by_mass(const ListBudget& budget, const KeyRanks& ranks, int64_t n, int64_t forced,
                        double forced_mass, int64_t most);

  double estimated_lost_ = 0.0;
  MassHistogram histogram_;
  ScratchBuffer<int16_t> importance_;
  ScratchBuffer<int32_t> indices_;
};

}  // namespace shadowattn
