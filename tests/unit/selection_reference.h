// Which keys the shadow engine must keep, by brute force: every score by the formulas of
// pilot/pilot.h, the always-kept keys by the rules of engine.h and visibility.h, top-k by sorting.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

#include "kernels/select/select.h"
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
      }
    }
    for (int64_t kv = 0; kv < call.key.heads; ++kv) {
      float largest = 0.0F;
      std::vector<QuantizedRow> rows;
      for (int64_t j = begin_; j < end_; ++j) {
        rows.push_back(reference_quantize(call.key, kv, j));
        largest = std::max(largest, rows.back().scale);
      }
      keys_.push_back(std::move(rows));
      largest_.push_back(largest);
    }
  }

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

  /// The list that `rows` (all of one KV head) share.
  std::set<int64_t> list(const std::vector<HeadRow>& rows) const {
    int64_t most_visible = 0;
    std::set<int64_t> always;
    for (const HeadRow& at : rows) {
      most_visible = std::max(most_visible, static_cast<int64_t>(visible(at).size()));
      always.merge(forced(at));
    }
    std::vector<int16_t> importance = rank(rows);
    for (const int64_t key : always) importance[static_cast<size_t>(key)] = kForcedScore;
    const int64_t keep =
        std::max(reference_keep(options_, most_visible), static_cast<int64_t>(always.size()));
    const std::vector<int32_t> chosen = reference_top_k(importance, call_.key.rows, keep);
    return {chosen.begin(), chosen.end()};
  }

 private:
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

  /// Importance of every key for the list.
  std::vector<int16_t> rank(const std::vector<HeadRow>& rows) const {
    const double range = call_.scale < 0.0F ? -double{kLargestScore} : double{kLargestScore};
    std::vector<QuantizedRow> queries;
    double bound = 0.0;
    for (const HeadRow& at : rows) {
      queries.push_back(reference_quantize(call_.query, at.head, at.row));
      double l1 = 0.0;
      for (const int8_t q : queries.back().q) l1 += std::abs(q);
      bound = std::max(bound, 127.0 * l1 * queries.back().scale);
    }
    std::vector<int16_t> importance(static_cast<size_t>(call_.key.rows), kHiddenScore);
    for (size_t i = 0; i < rows.size(); ++i) {
      const double scale = queries[i].scale;
      const auto factor = bound > 0.0 ? static_cast<float>(range * scale / bound) : 0.0F;
      const auto kv = static_cast<size_t>(rows[i].head / (call_.query.heads / call_.key.heads));
      const double logit = scale * largest_[kv] * std::fabs(call_.scale);
      const double units = logit > 0.0 ? std::fabs(factor) / logit : 0.0;
      const std::vector<int16_t> scores = row_scores(rows[i], queries[i], factor, units);
      if (rows.size() == 1) return scores;
      merge(scores, level(scores, units), importance);
    }
    return importance;
  }

  std::vector<int16_t> row_scores(const HeadRow& at, const QuantizedRow& query, float factor,
                                  double units) const {
    const auto kv = static_cast<size_t>(at.head / (call_.query.heads / call_.key.heads));
    std::vector<int16_t> scores(static_cast<size_t>(call_.key.rows), kHiddenScore);
    for (const int64_t j : visible(at)) {
      const QuantizedRow& key = keys_[kv][static_cast<size_t>(j - begin_)];
      const float key_factor = largest_[kv] > 0.0F ? key.scale / largest_[kv] : 0.0F;
      int16_t score =
          reference_score(query.q.data(), key.q.data(), call_.query.dim, key_factor, factor);
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
    const double whole = std::floor(std::log2(sum));  // log2 with straight lines in between
    const double log_sum = whole + sum / std::exp2(whole) - 1.0;
    return std::llrint(std::min<double>(max + log_sum * units_per_log2, kForcedScore));
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
  std::vector<std::vector<QuantizedRow>> keys_;  // [kv head][key - begin]
  std::vector<float> largest_;
};

/// [head][row]: the keys that the engine must attend to. Lists as plan/list_plan.h cuts them.
inline std::vector<std::vector<std::set<int64_t>>> reference_selection(const AttentionCall& call,
                                                                       const EngineOptions& options,
                                                                       const CallPlan& plan) {
  const SelectionReference reference(call, options);
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
        std::vector<HeadRow> rows;
        for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
          for (int64_t i = 0; i < range.count; ++i) rows.push_back({h, range.first + i});
          if (options.share_heads) continue;
          keep_list(rows, everything);
          rows.clear();
        }
        if (!rows.empty()) keep_list(rows, everything);
      }
    }
  }
  return kept;
}

}  // namespace shadowattn::test
