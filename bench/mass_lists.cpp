#include "mass_lists.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace shadowattn::bench {
namespace {

/// Adds a row's softmax shares by its estimated logits.
void add_shares(std::span<const float> logits, std::span<float> weight, std::span<float> ranks) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (size_t j = 0; j < logits.size(); ++j) {
    weight[j] = std::exp(logits[j] - largest);
    sum += weight[j];
  }
  const auto inverse = static_cast<float>(1 / sum);
  for (size_t j = 0; j < logits.size(); ++j) ranks[j] += weight[j] * inverse;
}

void force(const KeyRange& keys, const KeyRange& range, std::span<float> ranks) {
  for (int64_t j = std::max(keys.begin, range.begin); j < std::min(keys.end, range.end); ++j) {
    ranks[static_cast<size_t>(j - range.begin)] = std::numeric_limits<float>::infinity();
  }
}

}  // namespace

KeyRange ListEstimate::range() const {
  KeyRange range = seen.front();
  for (const KeyRange& row : seen) {
    range.begin = std::min(range.begin, row.begin);
    range.end = std::max(range.end, row.end);
  }
  return range;
}

std::vector<float> rank_keys(const ListEstimate& list, const ForcedKeys& forced) {
  const KeyRange range = list.range();
  const auto keys = static_cast<size_t>(range.end - range.begin);
  std::vector<float> ranks(keys, 0.0F);
  std::vector<float> weight(keys);
  for (size_t i = 0; i < list.seen.size(); ++i) {
    const KeyRange& seen = list.seen[i];
    const auto first = static_cast<size_t>(seen.begin);
    const auto count = static_cast<size_t>(seen.end - seen.begin);
    const std::span<const float> logits = list.logits[i].subspan(first, count);
    const std::span<float> into =
        std::span<float>(ranks).subspan(first - static_cast<size_t>(range.begin), count);
    if (list.seen.size() == 1) {
      std::copy(logits.begin(), logits.end(), into.begin());  // no underflow
    } else {
      add_shares(logits, weight, into);
    }
  }
  for (const KeyRange& seen : list.seen) {
    force({seen.begin, seen.begin + forced.sink}, range, ranks);
    force({seen.end - forced.recent, seen.end}, range, ranks);
  }
  return ranks;
}

std::vector<float> choose_keys(std::span<const float> ranks, int64_t k) {
  std::vector<float> sorted(ranks.begin(), ranks.end());
  const auto last = sorted.begin() + (k - 1);
  std::nth_element(sorted.begin(), last, sorted.end(), std::greater<>());
  const float threshold = *last;
  const auto above = std::count_if(ranks.begin(), ranks.end(),
                                   [threshold](float rank) { return rank > threshold; });
  const auto equal = std::count(ranks.begin(), ranks.end(), threshold);
  const float chance = static_cast<float>(k - above) / static_cast<float>(equal);
  std::vector<float> weight(ranks.size());
  for (size_t j = 0; j < ranks.size(); ++j) {
    weight[j] = ranks[j] > threshold ? 1.0F : ranks[j] == threshold ? chance : 0.0F;
  }
  return weight;
}

int64_t list_length(double keep, const KeyRange& range, const ForcedKeys& forced) {
  const int64_t visible = range.end - range.begin;
  const auto share = static_cast<int64_t>(std::ceil(keep * static_cast<double>(visible)));
  return std::clamp<int64_t>(std::max(share, forced.sink + forced.recent), 1, visible);
}

}  // namespace shadowattn::bench
