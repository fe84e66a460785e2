#include "engine/row_sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace shadowattn {
namespace {

double dot(const float* a, const float* b, int64_t dim) {
  double sums[4] = {};
  for (int64_t d = 0; d < dim; d += 4) {  // dims are multiples of 16
    for (int64_t i = 0; i < 4; ++i) sums[i] += static_cast<double>(a[d + i]) * b[d + i];
  }
  return sums[0] + sums[1] + sums[2] + sums[3];
}

}  // namespace

void RowSampler::gather_logits(const AttentionCall& call, const Visibility& visibility,
                               int64_t head, int64_t row, const AttendKernel& kernel) {
  const RowVisibility& seen = visibility.row(head, row);
  const int64_t dim = call.key.dim;
  const int64_t kv_head = head / (call.query.heads / call.key.heads);
  const RowSource source{call.key.row(kv_head, 0), call.key.type, call.key.row_stride};
  keys_.resize(static_cast<size_t>(kAttendBlock * dim));
  const auto* query = static_cast<const float*>(call.query.row(head, row));
  query_.assign(query, query + dim);
  index_.clear();
  weight_.clear();
  for (int64_t first = seen.begin; first < seen.end; first += kAttendBlock) {
    const int64_t count = std::min<int64_t>(kAttendBlock, seen.end - first);
    kernel.gather(source, nullptr, first, count, dim, keys_.data());
    for (int64_t j = 0; j < count; ++j) {
      double bias = 0.0;
      if (!seen.plain) bias = visibility.bias(head, row, first + j);
      if (bias == -std::numeric_limits<double>::infinity()) continue;
      double logit = dot(query_.data(), keys_.data() + j * dim, dim) * call.scale;
      if (call.logit_softcap > 0.0F) {
        logit = call.logit_softcap * std::tanh(logit / call.logit_softcap);
      }
      index_.push_back(static_cast<int32_t>(first + j));
      weight_.push_back(logit + bias);
    }
  }
}

RowSample RowSampler::measure(const AttentionCall& call, const Visibility& visibility, int64_t head,
                              int64_t row, const TokenList& list, const AttendKernel& kernel) {
  gather_logits(call, visibility, head, row, kernel);
  RowSample sample;
  sample.head = static_cast<int32_t>(head);
  sample.row = static_cast<int32_t>(row);
  sample.visible = static_cast<int64_t>(index_.size());
  if (index_.empty()) return sample;

  const double largest = *std::max_element(weight_.begin(), weight_.end());
  double sum = 0.0;
  for (double& w : weight_) sum += w = std::exp(w - largest);
  if (call.sink_logits != nullptr) sum += std::exp(call.sink_logits[head] - largest);
  for (double& w : weight_) w /= sum;

  // Lists and the keys seen are both ascending.
  double kept_mass = 0.0;
  int64_t position = 0;
  sorted_ = weight_;
  std::vector<double>& kept = kept_;
  kept.clear();
  for (size_t i = 0; i < index_.size() && position < list.count; ++i) {
    while (position < list.count && list.key(position) < index_[i]) ++position;
    if (position == list.count || list.key(position) != index_[i]) continue;
    kept.push_back(weight_[i]);
    kept_mass += weight_[i];
  }
  sample.kept = static_cast<int64_t>(kept.size());
  const double all = std::accumulate(weight_.begin(), weight_.end(), 0.0);
  // Never below zero: what is left of two sums of the same numbers.
  sample.lost = std::max(all - kept_mass, 0.0);
  if (kept.empty()) {
    sample.oracle_lost = all;
    return sample;
  }
  std::sort(sorted_.begin(), sorted_.end(), std::greater<>());
  const double threshold = sorted_[kept.size() - 1];
  const auto best =
      std::count_if(kept.begin(), kept.end(), [&](double w) { return w >= threshold; });
  sample.recall = std::min(1.0, static_cast<double>(best) / static_cast<double>(kept.size()));
  double mass = 0.0;
  for (size_t i = 0; i < sorted_.size(); ++i) {
    // Up to the rounding of the sums, which are of the same numbers in another order.
    if (sample.oracle_kept == 0 && mass >= kept_mass * (1.0 - 1e-12)) {
      sample.oracle_kept = static_cast<int64_t>(i);
    }
    if (i == kept.size()) sample.oracle_lost = std::max(all - mass, 0.0);
    mass += sorted_[i];
  }
  if (sample.oracle_kept == 0) sample.oracle_kept = static_cast<int64_t>(sorted_.size());
  return sample;
}

int64_t RowSampler::scratch_bytes() const {
  const auto bytes = [](const auto& v) { return v.capacity() * sizeof(v[0]); };
  return static_cast<int64_t>(bytes(keys_) + bytes(query_) + bytes(index_) + bytes(weight_) +
                              bytes(sorted_) + bytes(kept_));
}

}  // namespace shadowattn
