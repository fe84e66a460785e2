#include "attend/row_sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

namespace shadowattn {
namespace {

/// In f32 but for the end: rounded dim / 16 + 2 times.
double dot(const float* a, const float* b, int64_t dim) {
  constexpr int64_t kLanes = 16;  // dims are multiples of 16
  float sums[kLanes] = {};
  for (int64_t d = 0; d < dim; d += kLanes) {
    for (int64_t i = 0; i < kLanes; ++i) sums[i] += a[d + i] * b[d + i];
  }
  for (int64_t i = 0; i < 8; ++i) sums[i] += sums[i + 8];
  for (int64_t i = 0; i < 4; ++i) sums[i] += sums[i + 4];
  return (static_cast<double>(sums[0]) + sums[1]) + (static_cast<double>(sums[2]) + sums[3]);
}

// Shares are ordered by their leading bits: the exponent and four bits of the fraction. What is
// below 2^-62 is in the first bucket.
constexpr int kBucketShift = 48;
constexpr int64_t kSmallest = int64_t{1023 - 62} << 4;
constexpr int64_t kBuckets = (int64_t{1023} << 4) - kSmallest + 1;

int64_t bucket_of(double share) {
  const int64_t leading = std::bit_cast<int64_t>(share) >> kBucketShift;
  return std::clamp<int64_t>(leading - kSmallest, 0, kBuckets - 1);
}

/// SplitMix64's finisher: every bit of the result depends on every bit of x.
uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31U);
}

}  // namespace

bool is_sampled(const AttentionCall& call, int64_t head, int64_t row, int32_t sample_every) {
  if (sample_every == 0) return false;
  // The number of keys and the layer, so that not every call samples the same rows.
  uint64_t x = mixed(static_cast<uint64_t>(call.key.rows) + 0x9E3779B97F4A7C15U);
  x = mixed(x + static_cast<uint64_t>(call.layer + 1));
  x = mixed(x + static_cast<uint64_t>(head * call.query.rows + row));
  return x % static_cast<uint64_t>(sample_every) == 0;
}

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

void RowSampler::fill_buckets() {
  buckets_.assign(kBuckets, Bucket());
  for (const double weight : weight_) {
    Bucket& bucket = buckets_[static_cast<size_t>(bucket_of(weight))];
    ++bucket.count;
    bucket.mass += weight;
  }
}

void RowSampler::sort_bucket(int64_t bucket) {
  members_.clear();
  for (const double weight : weight_) {
    if (bucket_of(weight) == bucket) members_.push_back(weight);
  }
  std::sort(members_.begin(), members_.end(), std::greater<>());
}

RowSampler::Best RowSampler::best(int64_t count) {
  Best best;
  int64_t bucket = kBuckets - 1;
  for (; bucket > 0; --bucket) {
    const Bucket& next = buckets_[static_cast<size_t>(bucket)];
    if (best.count + next.count >= count) break;
    best.count += next.count;
    best.mass += next.mass;
  }
  sort_bucket(bucket);
  for (const double weight : members_) {
    if (best.count == count) break;
    ++best.count;
    best.mass += weight;
    best.smallest = weight;
  }
  return best;
}

int64_t RowSampler::fewest(double mass) {
  Best best;
  int64_t bucket = kBuckets - 1;
  for (; bucket > 0; --bucket) {
    const Bucket& next = buckets_[static_cast<size_t>(bucket)];
    if (best.mass + next.mass >= mass) break;
    best.count += next.count;
    best.mass += next.mass;
  }
  sort_bucket(bucket);
  for (const double weight : members_) {
    if (best.mass >= mass) break;
    ++best.count;
    best.mass += weight;
  }
  return best.count;
}

bool RowSampler::normalise(const AttentionCall& call, int64_t head, const AttendKernel& kernel) {
  double largest = *std::max_element(weight_.begin(), weight_.end());
  const bool sink = call.sink_logits != nullptr;
  if (sink) largest = std::max<double>(largest, call.sink_logits[head]);
  double sum = 0.0;
  for (size_t first = 0; first < weight_.size(); first += kAttendBlock) {
    const size_t count = std::min<size_t>(kAttendBlock, weight_.size() - first);
    float exponent[kAttendBlock] = {};
    float weight[kAttendBlock];
    for (size_t i = 0; i < count; ++i) {
      exponent[i] = static_cast<float>(weight_[first + i] - largest);
    }
    kernel.exp(exponent, kAttendBlock, weight);
    for (size_t i = 0; i < count; ++i) {
      double& w = weight_[first + i];
      // What is too small for the kernel has no mass, but an order.
      w = weight[i] != 0.0F ? weight[i] : std::exp(w - largest);
      sum += w;
    }
  }
  if (sink) sum += std::exp(call.sink_logits[head] - largest);
  if (!std::isfinite(sum)) return false;
  for (double& w : weight_) w /= sum;
  return true;
}

RowSample RowSampler::measure(const AttentionCall& call, const Visibility& visibility, int64_t head,
                              int64_t row, const TokenList& list, const AttendKernel& kernel) {
  gather_logits(call, visibility, head, row, kernel);
  RowSample sample;
  sample.head = static_cast<int32_t>(head);
  sample.row = static_cast<int32_t>(row);
  sample.visible = static_cast<int64_t>(index_.size());
  finite_ = !index_.empty() && normalise(call, head, kernel);
  if (!finite_) return sample;

  // Lists and the keys seen are both ascending.
  double kept_mass = 0.0;
  double lost = 0.0;
  int64_t position = 0;
  kept_.clear();
  for (size_t i = 0; i < index_.size(); ++i) {
    while (position < list.count && list.key(position) < index_[i]) ++position;
    if (position == list.count || list.key(position) != index_[i]) {
      lost += weight_[i];
      continue;
    }
    kept_.push_back(weight_[i]);
    kept_mass += weight_[i];
  }
  sample.kept = static_cast<int64_t>(kept_.size());
  sample.lost = lost;
  if (sample.kept == 0) {
    sample.oracle_lost = lost;
    return sample;
  }
  fill_buckets();
  const Best oracle = best(sample.kept);
  const auto found =
      std::count_if(kept_.begin(), kept_.end(), [&](double w) { return w >= oracle.smallest; });
  sample.recall = std::min(1.0, static_cast<double>(found) / static_cast<double>(sample.kept));
  // Never below zero, nor above what the list lost: sums of the same numbers in another order.
  sample.oracle_lost = std::clamp(kept_mass + lost - oracle.mass, 0.0, lost);
  sample.oracle_kept = std::min(fewest(kept_mass * (1.0 - 1e-12)), sample.kept);
  return sample;
}

double RowSampler::squared_error(const AttentionCall& call, int64_t head, int64_t row,
                                 const AttendKernel& kernel) {
  if (!finite_) return 0.0;
  const int64_t dim = call.value.dim;
  const int64_t kv_head = head / (call.query.heads / call.key.heads);
  const RowSource source{call.value.row(kv_head, 0), call.value.type, call.value.row_stride};
  exact_.assign(static_cast<size_t>(dim), 0.0);
  keys_.resize(static_cast<size_t>(kAttendBlock * std::max(dim, call.key.dim)));
  for (size_t first = 0; first < index_.size(); first += kAttendBlock) {
    const auto count = static_cast<int64_t>(std::min<size_t>(kAttendBlock, index_.size() - first));
    kernel.gather(source, index_.data() + first, 0, count, dim, keys_.data());
    for (int64_t j = 0; j < count; ++j) {
      const double weight = weight_[first + static_cast<size_t>(j)];
      const float* value = keys_.data() + j * dim;
      for (int64_t d = 0; d < dim; ++d) exact_[static_cast<size_t>(d)] += weight * value[d];
    }
  }
  double sum = 0.0;
  const float* output = call.output.row(head, row);
  for (int64_t d = 0; d < dim; ++d) {
    const double difference = output[d] - exact_[static_cast<size_t>(d)];
    sum += difference * difference;
  }
  return sum;
}

int64_t RowSampler::scratch_bytes() const {
  const auto bytes = [](const auto& v) { return v.capacity() * sizeof(v[0]); };
  return static_cast<int64_t>(bytes(keys_) + bytes(query_) + bytes(index_) + bytes(weight_) +
                              bytes(members_) + bytes(kept_) + bytes(exact_) + bytes(buckets_));
}

}  // namespace shadowattn
