// From a rank per key to a token list, by EngineOptions' rules: whole blocks or single keys, best
// first.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/list_rows.h"
#include "plan/visibility.h"
#include "select/token_lists.h"
#include "shadowattn/engine.h"

namespace shadowattn {

/// What is chosen from. rank[0 … count-1] of keys from first_key on: mean share of softmax mass in
/// the rows of the list, or kUnseen (baselines/softmax_shares.h).
struct RankedKeys {
  const double* rank = nullptr;
  int64_t first_key = 0;
  int64_t count = 0;
};

struct ChosenKeys {
  TokenList list;     ///< valid until the next choice
  double lost = 0.0;  ///< mass of the seen keys that are not in it, by their ranks
};

/// One object per thread, reused.
class KeyChooser {
 public:
  /// Throws std::bad_alloc.
  void reserve(int64_t keys);

  /// The fewest keys that lose at most options.attn_error of the mass of all keys seen, or, when
  /// that is 0, as many as allowed: keep_count(options, v), v the most that one row of the list
  /// sees. Rows that all see no more than keep_floor keys keep them all. Equal ranks: the earlier
  /// key. More than `nearly_all` of the keys seen: as many as allowed.
  ChosenKeys keys(const EngineOptions& options, const Visibility& visibility, const ListRows& list,
                  const RankedKeys& ranked, double nearly_all = 1.0);

  /// The same by whole blocks of `block` keys (at multiples of `block`), ordered by their largest
  /// rank. The last block may go beyond the number of keys allowed.
  ChosenKeys blocks(const EngineOptions& options, const Visibility& visibility,
                    const ListRows& list, const RankedKeys& ranked, int64_t block);

  /// The first `sink` and the last keys that one row sees: sink + recent of them, and with
  /// attn_error = 0 as many as keep_count allows when these are more. `seen`: as `rank` above.
  TokenList window(const EngineOptions& options, const Visibility& visibility, int64_t head,
                   int64_t row, const RankedKeys& seen);

  int64_t scratch_bytes() const;

 private:
  struct Key {
    double rank = 0.0;
    int32_t first = 0;  ///< from RankedKeys::first_key on
  };
  struct Block {
    double rank = 0.0;  ///< largest of its keys
    double mass = 0.0;  ///< of its keys that are seen and not yet in
    int64_t keys = 0;   ///< how many these are
    int64_t first = 0;  ///< from RankedKeys::first_key on
    int64_t end = 0;
  };

  /// Puts in what is always in and returns how many keys are still allowed.
  int64_t start(const EngineOptions& options, const Visibility& visibility, const ListRows& list,
                const RankedKeys& ranked);
  /// The fewest of keys_[0 … count-1] with a mass of `needed` come first; returns how many
  /// they are (all of them when they have less).
  int64_t fewest(int64_t count, double needed);
  void list_blocks(const RankedKeys& ranked, int64_t block);
  ChosenKeys finish(const RankedKeys& ranked);

  std::vector<uint8_t> in_;  // [keys]
  std::vector<Key> keys_;    // that may be taken, as are the blocks
  std::vector<Block> blocks_;
  std::vector<int32_t> list_;
  int64_t seen_ = 0;
  int64_t forced_ = 0;
  bool by_mass_ = false;  // attn_error decides how many, within what is allowed
  double needed_ = 0.0;   // mass that the keys which are not always in must have
};

}  // namespace shadowattn
