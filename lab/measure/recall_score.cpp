#include "measure/recall_score.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace shadowattn::tool::measure {

RowReference::RowReference(std::span<const double> logits)
    : share_(logits.begin(), logits.end()), rank_(logits.size()) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return share_[static_cast<size_t>(a)] > share_[static_cast<size_t>(b)];
  });
  for (size_t i = 0; i < order.size(); ++i) {
    rank_[static_cast<size_t>(order[i])] = static_cast<int32_t>(i);
  }
  const double largest = share_[static_cast<size_t>(order.front())];
  double sum = 0;
  for (double& x : share_) sum += x = std::exp(x - largest);
  for (double& x : share_) x /= sum;
  double best = 0;
  for (const int32_t j : order) best_.push_back(best += share_[static_cast<size_t>(j)]);
}

TopKQuality RowReference::quality(std::span<const float> estimate, int64_t k) const {
  std::vector<float> sorted(estimate.begin(), estimate.end());
  const auto last = sorted.begin() + (k - 1);
  std::nth_element(sorted.begin(), last, sorted.end(), std::greater<>());
  const float threshold = *last;

  struct Part {
    int64_t keys = 0;
    int64_t wanted = 0;
    double mass = 0;
  };
  Part above;
  Part equal;
  for (size_t j = 0; j < estimate.size(); ++j) {
    if (estimate[j] < threshold) continue;
    Part& part = estimate[j] > threshold ? above : equal;
    ++part.keys;
    part.wanted += rank_[j] < k ? 1 : 0;
    part.mass += share_[j];
  }
  const int64_t taken = k - above.keys;
  const double chance = static_cast<double>(taken) / static_cast<double>(equal.keys);
  TopKQuality quality;
  quality.recall =
      (static_cast<double>(above.wanted) + chance * static_cast<double>(equal.wanted)) /
      static_cast<double>(k);
  quality.mass = above.mass + chance * equal.mass;
  quality.oracle_mass = best_[static_cast<size_t>(k - 1)];
  quality.relative_mass = quality.mass / quality.oracle_mass;
  quality.tied = taken < equal.keys ? taken : 0;
  return quality;
}

TopKQuality RowReference::quality_of(std::span<const float> weight) const {
  const double kept = std::accumulate(weight.begin(), weight.end(), 0.0);
  const int64_t k = std::clamp<int64_t>(std::llround(kept), 1, keys());
  TopKQuality quality;
  double wanted = 0;
  for (size_t j = 0; j < weight.size(); ++j) {
    quality.mass += weight[j] * share_[j];
    if (rank_[j] < k) wanted += weight[j];
    if (weight[j] > 0 && weight[j] < 1) ++quality.tied;
  }
  quality.recall = wanted / static_cast<double>(k);
  quality.oracle_mass = best_[static_cast<size_t>(k - 1)];
  quality.relative_mass = quality.mass / quality.oracle_mass;
  return quality;
}

RowFigures row_figures(std::span<const std::vector<double>> values) {
  RowFigures figures;
  std::vector<double> all;
  bool first = true;
  for (const std::vector<double>& head : values) {
    if (head.empty()) continue;
    all.insert(all.end(), head.begin(), head.end());
    const double mean =
        std::accumulate(head.begin(), head.end(), 0.0) / static_cast<double>(head.size());
    figures.worst_head = first ? mean : std::min(figures.worst_head, mean);
    first = false;
  }
  if (all.empty()) return figures;
  figures.mean = std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size());
  const auto nth = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 100);
  std::nth_element(all.begin(), nth, all.end());
  figures.first_percentile = *nth;
  return figures;
}

}  // namespace shadowattn::tool::measure
