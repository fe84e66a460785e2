// Which keys the shadow engine must keep, by brute force: every score and share by the formulas of
// pilot/pilot.h, the always-kept keys by the rules of engine.h and visibility.h, top-k by sorting.
// To the bit: what is rounded is rounded here in the same order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "kernels/select/select.h"
#include "pilot/pilot.h"
#include "plan/list_plan.h"
#include "reference.h"
#include "shadowattn/engine.h"

namespace shadowattn::test {

/// A query row of a head.
struct HeadRow {
  int64_t head = 0;
  int64_t row = 0;
};

/// ceil(keep · visible), at least the floor, at most all. keep · visible is exact enough in the
/// tests that a rounding never crosses a whole number.
inline int64_t reference_keep(const EngineOptions& options, int64_t visible) {
  const double share = options.keep * static_cast<double>(visible);
  const double nearest = std::round(share);
  const double wanted = std::fabs(share - nearest) < 1e-9 ? nearest : std::ceil(share);
  const auto keep = std::max(static_cast<int64_t>(wanted), int64_t{options.keep_floor});
  return std::min(keep, visible);
}

class SelectionReference {
 public:
  SelectionReference(const AttentionCall& call, const EngineOptions& options)
      : call_(call), options_(options), begin_(call.key.rows), end_(0) {
    for (int64_t h = 0; h < call.query.heads; ++h) {
      for (int64_t i = 0; i < call.query.rows; ++i) {
        const std::vector<int64_t> seen = visible({h, i});
        if (seen.empty()) continue;
        begin_ = std::min(begin_, seen.front());
        end_ = std::max(end_, seen.back() + 1);
        biased_ = biased_ || is_biased({h, i}, seen);
      }
    }
    for (int64_t kv = 0; kv < call.key.heads; ++kv) {
      float largest = 0.0F;
      std::vector<QuantizedRow> rows;
      const std::vector<float> mean =
          begin_ < end_ ? reference_key_mean(call.key, kv, begin_, end_) : std::vector<float>();
      for (int64_t j = begin_; j < end_; ++j) {
        rows.push_back(mean.empty() ? reference_quantize(call.key, kv, j)
                                    : reference_quantize_centred(call.key, kv, j, mean));
        largest = std::max(largest, rows.back().scale);
      }
      keys_.push_back(std::move(rows));
      largest_.push_back(largest);
    }
  }

  virtual ~SelectionReference() = default;

  std::vector<int64_t> visible(const HeadRow& at) const {
    std::vector<int64_t> keys;
    for (int64_t j = 0; j < call_.key.rows; ++j) {
      if (reference_sees(call_, at.head, at.row, j)) keys.push_back(j);
    }
    return keys;
  }

  /// The row's own token; -1: it has none.
  int64_t own(const HeadRow& at) const {
    const std::vector<int64_t> seen = visible(at);
    if (call_.mask.kind == MaskKind::kNone || seen.empty()) return -1;
    if (call_.mask.kind == MaskKind::kCausal) return seen.back();
    const int64_t added = added_key(at);
    if (added >= 0) return added;
    const HeadRow next{at.head, at.row + 1};
    if (next.row < call_.query.rows) {
      const int64_t guess = added_key(next) - 1;
      if (guess >= 0 && reference_sees(call_, at.head, at.row, guess)) return guess;
    }
    return seen.back();
  }

  /// First `sink` and last `recent` visible keys, and the row's own.
  std::set<int64_t> forced(const HeadRow& at) const {
    const std::vector<int64_t> seen = visible(at);
    std::set<int64_t> keys;
    const int64_t own_key = own(at);
    if (own_key >= 0) keys.insert(own_key);
    for (size_t i = 0; i < seen.size() && i < static_cast<size_t>(options_.sink); ++i) {
      keys.insert(seen[i]);
    }
    int32_t left = options_.recent;
    for (auto key = seen.rbegin(); key != seen.rend() && left > 0; ++key) {
      if (own_key >= 0 && *key > own_key) continue;  // recent: up to the row's own token
      keys.insert(*key);
      --left;
    }
    return keys;
  }

  /// Whether keys are ranked by the mass that all rows of a list give them together.
  bool ranks_together() const {
    const int64_t group = call_.query.heads / call_.key.heads;
    return !biased_ && options_.rows_per_list * (options_.share_heads ? group : 1) > 1;
  }

  /// The list that `rows` (all of one KV head) share, in the engine's order: heads of the first
  /// query row, then of the second, …
  std::set<int64_t> list(const std::vector<HeadRow>& rows) const {
    int64_t most_visible = 0;
    std::set<int64_t> always;
    for (const HeadRow& at : rows) {
      most_visible = std::max(most_visible, static_cast<int64_t>(visible(at).size()));
      always.merge(forced(at));
    }
    std::vector<int16_t> importance = ranks_together() ? rank_by_share(rows) : rank(rows);
    for (const int64_t key : always) importance[static_cast<size_t>(key)] = kForcedScore;
    const int64_t keep =
        std::max(reference_keep(options_, most_visible), static_cast<int64_t>(always.size()));
    const std::vector<int32_t> chosen = reference_top_k(importance, call_.key.rows, keep);
    return {chosen.begin(), chosen.end()};
  }

 protected:
  /// The key that the row sees and the row before does not, if both are of the same sequence (their
  /// visible keys differ by one or two); else -1.
  int64_t added_key(const HeadRow& at) const {
    if (at.row == 0) return -1;
    const std::vector<int64_t> before = visible({at.head, at.row - 1});
    const std::vector<int64_t> seen = visible(at);
    if (before.empty() || seen.empty()) return -1;
    std::vector<int64_t> different;
    std::set_symmetric_difference(before.begin(), before.end(), seen.begin(), seen.end(),
                                  std::back_inserter(different));
    if (different.size() > 2) return -1;
    int64_t added = -1;
    for (const int64_t key : different) {
      if (std::binary_search(seen.begin(), seen.end(), key)) added = key;
    }
    return added;
  }

  bool is_biased(const HeadRow& at, const std::vector<int64_t>& seen) const {
    return std::ranges::any_of(
        seen, [&](int64_t j) { return reference_bias(call_, at.head, at.row, j) != 0.0; });
  }

  bool any_sees(const std::vector<HeadRow>& rows, int64_t key) const {
    return std::ranges::any_of(
        rows, [&](const HeadRow& at) { return reference_sees(call_, at.head, at.row, key); });
  }

  /// A query row as the pilot sees it.
  struct PilotRow {
    QuantizedRow query;
    float factor = 0.0F;  ///< f of pilot.h
    double units = 0.0;   ///< score units per logit
  };

  std::vector<PilotRow> pilot_rows(const std::vector<HeadRow>& rows) const {
    const double range = call_.scale < 0.0F ? -double{kLargestScore} : double{kLargestScore};
    std::vector<PilotRow> pilot(rows.size());
    double bound = 0.0;
    for (size_t i = 0; i < rows.size(); ++i) {
      pilot[i].query = reference_quantize(call_.query, rows[i].head, rows[i].row);
      double l1 = 0.0;
      for (const int8_t q : pilot[i].query.q) l1 += std::abs(q);
      bound = std::max(bound, 127.0 * l1 * pilot[i].query.scale);
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      const double scale = pilot[i].query.scale;
      pilot[i].factor = bound > 0.0 ? static_cast<float>(range * scale / bound) : 0.0F;
      const double logit = scale * largest_[kv_of(rows[i])] * std::fabs(call_.scale);
      pilot[i].units = logit > 0.0 ? std::fabs(pilot[i].factor) / logit : 0.0;
    }
    return pilot;
  }

  size_t kv_of(const HeadRow& at) const {
    return static_cast<size_t>(at.head / (call_.query.heads / call_.key.heads));
  }

  float key_factor(size_t kv, int64_t key) const {
    const float scale = keys_[kv][static_cast<size_t>(key - begin_)].scale;
    return largest_[kv] > 0.0F ? scale / largest_[kv] : 0.0F;
  }

  /// The rows of a list that the pilot scores: every pilot_step-th, the last one among them.
  std::vector<HeadRow> scored_rows(const std::vector<HeadRow>& rows) const {
    int64_t last = 0;
    for (const HeadRow& at : rows) last = std::max(last, at.row);
    std::vector<HeadRow> scored;
    for (const HeadRow& at : rows) {
      if ((last - at.row) % options_.pilot_step == 0) scored.push_back(at);
    }
    return scored;
  }

  /// Which keys of a list's blocks a level is taken from, and what each of them stands for.
  struct Sample {
    std::vector<int64_t> ends;    ///< each for itself
    std::vector<int64_t> middle;  ///< each for `weight` keys
    double weight = 0.0;
  };

  /// Of the blocks that hold [begin, end): all when they are few, else the first two, the last
  /// eight and a pair out of every KeySample::kStride pairs between them.
  Sample sample(int64_t begin, int64_t end) const {
    constexpr int64_t kFirst = 2;
    constexpr int64_t kLast = 8;
    constexpr int64_t kPair = 2;
    const int64_t first = (begin - begin_) / kPilotKeyBlock;
    const int64_t blocks = (end - begin_ + kPilotKeyBlock - 1) / kPilotKeyBlock - first;
    const bool whole = blocks <= KeySample::kWholeBlocks;
    const int64_t middle_blocks = blocks - kFirst - kLast;
    Sample sample;
    int64_t sampled = 0;
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t in_middle = block - kFirst;
      const bool at_end = whole || in_middle < 0 || in_middle >= middle_blocks;
      // A pair that the middle cuts in two is left out.
      const int64_t pair = in_middle / kPair * kPair;
      const bool chosen =
          !at_end && pair % (kPair * KeySample::kStride) == 0 && pair + kPair <= middle_blocks;
      if (!at_end && !chosen) continue;
      sampled += chosen ? 1 : 0;
      for (int64_t j = 0; j < kPilotKeyBlock; ++j) {
        const int64_t key = begin_ + (first + block) * kPilotKeyBlock + j;
        if (key < end_) (at_end ? sample.ends : sample.middle).push_back(key);
      }
    }
    if (sampled > 0) {
      sample.weight = static_cast<double>(middle_blocks) / static_cast<double>(sampled);
    }
    return sample;
  }

  /// log2 with straight lines between the powers of two.
  static double straight_log2(double x) {
    const double whole = std::floor(std::log2(x));
    return whole - 1.0 + x / std::exp2(whole);
  }

  /// slope and offset of pilot_dot.h; zero for a row that sees none of the sampled keys.
  /// `units_per_log2`: score units; `slope`: in bits of the share.
  std::pair<float, float> line(const HeadRow& at, const std::vector<int16_t>& scores,
                               double units_per_log2, double slope, const Sample& from) const {
    std::vector<int16_t> ends;
    std::vector<int16_t> middle;
    for (const int64_t key : from.ends) ends.push_back(scores[static_cast<size_t>(key)]);
    for (const int64_t key : from.middle) middle.push_back(scores[static_cast<size_t>(key)]);
    int16_t max = kHiddenScore;
    for (const int16_t score : ends) max = std::max(max, score);
    for (const int16_t score : middle) max = std::max(max, score);
    const auto visible_keys = static_cast<double>(visible(at).size());
    double level = 0.0;
    if (units_per_log2 > 0.0) {
      if (max == kHiddenScore) return {0.0F, 0.0F};
      const auto c = static_cast<float>(std::min(1.0 / units_per_log2, 1e30));
      const double sum = static_cast<double>(reference_exp_sum(ends, max, c)) +
                         from.weight * static_cast<double>(reference_exp_sum(middle, max, c));
      level = max / units_per_log2 + straight_log2(sum / kExpSumOne);
    } else {
      if (visible_keys == 0.0) return {0.0F, 0.0F};
      level = straight_log2(visible_keys);  // all logits are zero
    }
    return {static_cast<float>(std::clamp(slope, -1e30, 1e30)),
            static_cast<float>(std::clamp(0x1p23 * (127.0 - level), -1e37, 1e37))};
  }

  /// From the first key that a row of the list sees to behind the last.
  std::pair<int64_t, int64_t> seen_by(const std::vector<HeadRow>& list) const {
    int64_t begin = end_;
    int64_t end = begin_;
    for (const HeadRow& at : list) {
      const std::vector<int64_t> seen = visible(at);
      if (seen.empty()) continue;
      begin = std::min(begin, seen.front());
      end = std::max(end, seen.back() + 1);
    }
    return {begin, end};
  }

  /// The share of mass that the rows give each key that one of them sees, also those rows that do
  /// not see it.
  virtual std::vector<int16_t> rank_by_share(const std::vector<HeadRow>& list) const {
    std::vector<int16_t> importance(static_cast<size_t>(call_.key.rows), kHiddenScore);
    const auto [begin, end] = seen_by(list);
    if (begin >= end) return importance;
    const std::vector<HeadRow> rows = scored_rows(list);
    const std::vector<PilotRow> pilot = pilot_rows(rows);
    const Sample from = sample(begin, end);
    std::vector<int8_t> queries;
    std::vector<float> slope;
    std::vector<float> offset;
    for (size_t i = 0; i < rows.size(); ++i) {
      queries.insert(queries.end(), pilot[i].query.q.begin(), pilot[i].query.q.end());
      const double to_bits = static_cast<double>(pilot[i].query.scale) * largest_[kv_of(rows[i])] *
                             call_.scale * 1.4426950408889634 * 0x1p23;
      const auto [a, b] =
          line(rows[i], row_scores(rows[i], pilot[i].query, pilot[i].factor, pilot[i].units),
               pilot[i].units * 0.6931471805599453, to_bits, from);
      slope.push_back(a);
      offset.push_back(b);
    }
    const size_t kv = kv_of(list.front());
    for (int64_t j = begin; j < end; ++j) {
      if (!any_sees(list, j)) continue;
      const QuantizedRow& key = keys_[kv][static_cast<size_t>(j - begin_)];
      importance[static_cast<size_t>(j)] =
          reference_rank(queries.data(), static_cast<int64_t>(rows.size()), key.q.data(),
                         call_.query.dim, key_factor(kv, j), slope.data(), offset.data());
    }
    return importance;
  }

  /// Importance of every key for the list: the largest share that any row gives it.
  virtual std::vector<int16_t> rank(const std::vector<HeadRow>& rows) const {
    const std::vector<PilotRow> pilot = pilot_rows(rows);
    std::vector<int16_t> importance(static_cast<size_t>(call_.key.rows), kHiddenScore);
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::vector<int16_t> scores =
          row_scores(rows[i], pilot[i].query, pilot[i].factor, pilot[i].units);
      if (rows.size() == 1) return scores;
      merge(scores, level(scores, pilot[i].units), importance);
    }
    return importance;
  }

  std::vector<int16_t> row_scores(const HeadRow& at, const QuantizedRow& query, float factor,
                                  double units) const {
    const size_t kv = kv_of(at);
    return with_biases(at, units, [&](int64_t j) {
      const QuantizedRow& key = keys_[kv][static_cast<size_t>(j - begin_)];
      return reference_score(query.q.data(), key.q.data(), call_.query.dim, key_factor(kv, j),
                             factor);
    });
  }

  /// score(key) and the mask's bias of each visible key; `units`: score units per logit.
  template <typename Score>
  std::vector<int16_t> with_biases(const HeadRow& at, double units, const Score& score_of) const {
    std::vector<int16_t> scores(static_cast<size_t>(call_.key.rows), kHiddenScore);
    for (const int64_t j : visible(at)) {
      int16_t score = score_of(j);
      const auto bias = static_cast<float>(reference_bias(call_, at.head, at.row, j));
      if (bias != 0.0F) {
        const double biased = score + static_cast<double>(bias) * units;
        score = static_cast<int16_t>(
            std::lrint(std::clamp(biased, -double{kLargestScore}, double{kLargestScore})));
      }
      scores[static_cast<size_t>(j)] = score;
    }
    return scores;
  }

  /// The row's log-sum in score units: what a softmax share of one would score.
  static int64_t level(const std::vector<int16_t>& scores, double units) {
    const int16_t max = *std::max_element(scores.begin(), scores.end());
    if (max == kHiddenScore || units <= 0.0) return std::max<int16_t>(max, 0);
    const double units_per_log2 = units * 0.6931471805599453;
    const auto c = static_cast<float>(std::min(1.0 / units_per_log2, 1e30));
    const double sum = static_cast<double>(reference_exp_sum(scores, max, c)) / kExpSumOne;
    const double log_sum = max / units_per_log2 + straight_log2(sum);
    return std::llrint(std::min<double>(log_sum * units_per_log2, kForcedScore));
  }

  static void merge(const std::vector<int16_t>& scores, int64_t level,
                    std::vector<int16_t>& importance) {
    for (size_t j = 0; j < scores.size(); ++j) {
      if (scores[j] == kHiddenScore) continue;
      const int64_t relative = std::max<int64_t>(scores[j] - level, -32767);
      importance[j] = std::max(importance[j], static_cast<int16_t>(relative));
    }
  }

  const AttentionCall& call_;
  const EngineOptions& options_;
  int64_t begin_;
  int64_t end_;
  bool biased_ = false;                          // something is added to a logit of some row
  std::vector<std::vector<QuantizedRow>> keys_;  // [kv head][key - begin]
  std::vector<float> largest_;
};

/// [head][row]: the keys that the engine must attend to. Lists as plan/list_plan.h cuts them.
inline std::vector<std::vector<std::set<int64_t>>> reference_selection(
    const AttentionCall& call, const EngineOptions& options, const CallPlan& plan,
    const SelectionReference& reference) {
  const int64_t group = call.query.heads / call.key.heads;
  std::vector<std::vector<std::set<int64_t>>> kept(
      static_cast<size_t>(call.query.heads),
      std::vector<std::set<int64_t>>(static_cast<size_t>(call.query.rows)));
  const auto keep_list = [&](const std::vector<HeadRow>& rows, bool everything) {
    const std::set<int64_t> list = everything ? std::set<int64_t>() : reference.list(rows);
    for (const HeadRow& at : rows) {
      for (const int64_t key : reference.visible(at)) {
        if (!everything && list.count(key) == 0) continue;
        kept[static_cast<size_t>(at.head)][static_cast<size_t>(at.row)].insert(key);
      }
    }
  };
  for (const QueryTile& tile : plan.tiles) {
    for (int64_t kv = 0; kv < call.key.heads; ++kv) {
      // A tile whose longest row keeps everything is dense.
      int64_t longest = 0;
      for (int64_t i = 0; i < tile.rows.count; ++i) {
        for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
          const auto count = reference.visible({h, tile.rows.first + i}).size();
          longest = std::max(longest, static_cast<int64_t>(count));
        }
      }
      const bool everything = reference_keep(options, longest) >= longest;
      for (const RowRange& range : tile.groups) {
        const int64_t list_heads = options.share_heads ? group : 1;
        for (int64_t first = kv * group; first < (kv + 1) * group; first += list_heads) {
          std::vector<HeadRow> rows;
          for (int64_t i = 0; i < range.count; ++i) {
            for (int64_t h = 0; h < list_heads; ++h) rows.push_back({first + h, range.first + i});
          }
          keep_list(rows, everything);
        }
      }
    }
  }
  return kept;
}

inline std::vector<std::vector<std::set<int64_t>>> reference_selection(const AttentionCall& call,
                                                                       const EngineOptions& options,
                                                                       const CallPlan& plan) {
  return reference_selection(call, options, plan, SelectionReference(call, options));
}

}  // namespace shadowattn::test
