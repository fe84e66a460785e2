#include "pilot/score_basis.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/quantize/quantize.h"
#include "kernels/simd/generic.h"

namespace shadowattn {
namespace {

/// Rows looked at, of keys and of queries; a multiple of 16, at most kProjectMaxDim at a time.
constexpr int64_t kSample = 512;
constexpr int64_t kAtOnce = kProjectMaxDim;
static_assert(kSample % kAtOnce == 0);
/// Standard deviation of a logit by what is left out, at most, in nats. The rounding to INT8 adds
/// 0.05 to 0.4 (SPEED.md).
constexpr double kLeftOut = 0.3;
/// Orthogonal iterations from the axes of L; more change nothing that counts.
constexpr int kIterations = 2;
/// Queries may point anywhere, a little, though no sampled one does.
constexpr double kAnywhere = 0.01;
/// Of a vector's squared length: what is left of it is rounding.
constexpr float kNothing = 1e-10F;

RowSource float_rows(const float* x, int64_t dim) {
  return {x, ElementType::kF32, dim * static_cast<int64_t>(sizeof(float))};
}

/// dim a multiple of 16.
float dot(const float* a, const float* b, int64_t dim) {
  using simd::Generic;
  Generic::Vec sum[4] = {};
  for (int64_t d = 0; d < dim; d += 16) {
    for (int64_t i = 0; i < 4; ++i) {
      sum[i] = Generic::fma(Generic::load(a + d + 4 * i), Generic::load(b + d + 4 * i), sum[i]);
    }
  }
  return Generic::reduce_add((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

}  // namespace

void ScoreBasis::reserve(int64_t dim) {
  head_dim_ = dim;
  const int64_t square = dim * dim;
  mean_.reserve(dim);
  sample_.reserve(kSample * dim);
  transposed_.reserve(kAtOnce * dim);
  key_start_.reserve(dim);
  value_.reserve(dim);
  order_.reserve(dim);
  for (auto* matrix : {&query_map_, &key_map_, &query_, &key_, &lower_, &upper_, &joint_,
                       &direction_, &product_}) {
    matrix->reserve(square);
  }
}

int64_t ScoreBasis::scratch_bytes() const {
  int64_t sum = mean_.bytes() + sample_.bytes() + transposed_.bytes() + key_start_.bytes() +
                value_.bytes() + order_.bytes();
  for (const auto* matrix : {&query_map_, &key_map_, &query_, &key_, &lower_, &upper_, &joint_,
                             &direction_, &product_}) {
    sum += matrix->bytes();
  }
  return sum;
}

int64_t ScoreBasis::sample_keys(const AttentionCall& call, int64_t kv_head, KeyRange keys,
                                const AttendKernel& attend) {
  const int64_t step = (keys.end - keys.begin + kSample - 1) / kSample;
  const RowSource source{call.key.row(kv_head, 0), call.key.type, call.key.row_stride};
  float padded[kAttendKeyPadding * kProjectMaxDim];
  int64_t rows = 0;
  for (int64_t key = keys.begin + step / 2; key < keys.end; key += step) {
    if (!attend.gather(source, nullptr, key, 1, head_dim_, padded)) continue;
    std::copy_n(padded, head_dim_, sample_.data() + rows++ * head_dim_);
  }
  return rows;
}

int64_t ScoreBasis::sample_queries(const AttentionCall& call, int64_t kv_head) {
  const int64_t heads = call.query.heads / call.key.heads;
  const int64_t step = (call.query.rows * heads + kSample - 1) / kSample;
  int64_t rows = 0;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t row = step / 2; row < call.query.rows && rows < kSample; row += step) {
      const auto* q = static_cast<const float*>(call.query.row(kv_head * heads + head, row));
      float* out = sample_.data() + rows * head_dim_;
      std::copy_n(q, head_dim_, out);
      if (std::all_of(out, out + head_dim_, [](float x) { return std::isfinite(x); })) ++rows;
    }
  }
  return rows;
}

/// Takes the mean from the sampled keys.
void ScoreBasis::centre(int64_t rows) {
  float* mean = mean_.data();
  float* sample = sample_.data();
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t d = 0; d < head_dim_; ++d) {
      mean[d] += sample[r * head_dim_ + d] / static_cast<float>(rows);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t d = 0; d < head_dim_; ++d) sample[r * head_dim_ + d] -= mean[d];
  }
}

/// Divides the sampled rows by their largest element, which it returns.
double ScoreBasis::scale_sample(int64_t rows) {
  float* sample = sample_.data();
  float largest = 0.0F;
  for (int64_t i = 0; i < rows * head_dim_; ++i) largest = std::max(largest, std::abs(sample[i]));
  if (!(largest >= kSmallestQuantizable && std::isfinite(largest))) return 0.0;
  for (int64_t i = 0; i < rows * head_dim_; ++i) sample[i] /= largest;
  return largest;
}

bool ScoreBasis::second_moment(int64_t rows, const ProjectKernel& project, float* out) {
  const int64_t dim = head_dim_;
  std::fill_n(out, dim * dim, 0.0F);
  for (int64_t first = 0; first < rows; first += kAtOnce) {
    const int64_t count = std::min(kAtOnce, rows - first);
    const int64_t padded = (count + 15) / 16 * 16;
    float* sample = sample_.data() + first * dim;
    std::fill(sample + count * dim, sample + padded * dim, 0.0F);
    float* transposed = transposed_.data();
    for (int64_t d = 0; d < dim; ++d) {
      for (int64_t r = 0; r < padded; ++r) transposed[d * padded + r] = sample[r * dim + d];
    }
    project.rows(
        {float_rows(transposed, padded), 0, 1, dim, padded, sample, dim, nullptr, product_.data()});
    for (int64_t i = 0; i < dim * dim; ++i) out[i] += product_.data()[i];
  }
  double trace = 0.0;
  for (int64_t d = 0; d < dim; ++d) trace += out[d * dim + d];
  if (!(trace > 0.0 && std::isfinite(trace))) return false;
  for (int64_t i = 0; i < dim * dim; ++i) out[i] /= static_cast<float>(rows);
  return true;
}

/// a · b, both [head dim][head dim].
void ScoreBasis::multiply(const float* a, const float* b, float* out,
                          const ProjectKernel& project) const {
  project.rows({float_rows(a, head_dim_), 0, 1, head_dim_, head_dim_, b, head_dim_, nullptr, out});
}

void ScoreBasis::transpose(const float* a, float* out) const {
  for (int64_t i = 0; i < head_dim_; ++i) {
    for (int64_t j = 0; j < head_dim_; ++j) out[j * head_dim_ + i] = a[i * head_dim_ + j];
  }
}

/// L and Lᵀ of C_q, to which a little of the same in all directions was added.
bool ScoreBasis::factorise() {
  const int64_t dim = head_dim_;
  const float* c = query_.data();
  float* lower = lower_.data();
  double trace = 0.0;
  for (int64_t d = 0; d < dim; ++d) trace += c[d * dim + d];
  const double anywhere = kAnywhere * trace / static_cast<double>(dim);
  std::fill_n(lower, dim * dim, 0.0F);
  for (int64_t i = 0; i < dim; ++i) {
    float* row = lower + i * dim;
    for (int64_t j = 0; j < i; ++j) {  // what is not known yet is zero
      row[j] = (c[i * dim + j] - dot(row, lower + j * dim, dim)) / lower[j * dim + j];
    }
    const double left = c[i * dim + i] + anywhere - dot(row, row, dim);
    if (!(left > 0.0)) return false;
    row[i] = static_cast<float>(std::sqrt(left));
  }
  transpose(lower, upper_.data());
  return true;
}

/// Makes row c of Uᵀ orthogonal to those before, and its length one; zero when nothing is left.
void ScoreBasis::orthonormalise(int64_t c) {
  const int64_t dim = head_dim_;
  float* row = direction_.data() + c * dim;
  const float before = dot(row, row, dim);
  for (int64_t i = 0; i < c; ++i) {
    const float* other = direction_.data() + i * dim;
    const float along = dot(row, other, dim);
    for (int64_t d = 0; d < dim; ++d) row[d] -= along * other[d];
  }
  const float left = dot(row, row, dim);
  const float factor = left > kNothing * before ? 1.0F / std::sqrt(left) : 0.0F;
  for (int64_t d = 0; d < dim; ++d) row[d] *= factor;
}

/// Uᵀ and λ of M: orthogonal iteration, which begins with its rows.
void ScoreBasis::rotate(const ProjectKernel& project) {
  const int64_t dim = head_dim_;
  multiply(key_.data(), lower_.data(), product_.data(), project);
  multiply(upper_.data(), product_.data(), joint_.data(), project);
  const float* joint = joint_.data();
  float* product = product_.data();
  int32_t* order = order_.data();
  std::iota(order, order + dim, 0);
  std::sort(order, order + dim, [&](int32_t a, int32_t b) {  // the stable one would allocate
    const float x = joint[a * dim + a];
    const float y = joint[b * dim + b];
    return x > y || (x == y && a < b);
  });
  for (int64_t c = 0; c < dim; ++c) {
    std::copy_n(joint + order[c] * dim, dim, product + c * dim);
  }
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    for (int64_t c = 0; c < dim; ++c) {
      std::copy_n(product + c * dim, dim, direction_.data() + c * dim);
      orthonormalise(c);
    }
    multiply(direction_.data(), joint, product, project);
  }
  for (int64_t c = 0; c < dim; ++c) {
    value_.data()[c] = std::max(dot(direction_.data() + c * dim, product + c * dim, dim), 0.0F);
  }
}

/// The fewest directions that leave out no more variance than `allowed`.
void ScoreBasis::choose_dim(double allowed) {
  double left = 0.0;
  for (int64_t d = 0; d < head_dim_; ++d) left += joint_.data()[d * head_dim_ + d];
  for (dim_ = 0; dim_ < head_dim_ && (dim_ == 0 || left > allowed);) {
    for (int64_t c = 0; c < kProjectColumns; ++c) left -= value_.data()[dim_++];
  }
}

void ScoreBasis::make_maps(const ProjectKernel& project) {
  const int64_t dim = head_dim_;
  // a: back substitution, all directions at once. b: Uᵀ Lᵀ.
  transpose(direction_.data(), query_map_.data());
  for (int64_t d = dim; d-- > 0;) {
    float* row = query_map_.data() + d * dim;
    for (int64_t e = d + 1; e < dim; ++e) {
      const float factor = lower_.data()[e * dim + d];
      const float* other = query_map_.data() + e * dim;
      for (int64_t c = 0; c < dim; ++c) row[c] -= factor * other[c];
    }
    for (int64_t c = 0; c < dim; ++c) row[c] /= lower_.data()[d * dim + d];
  }
  multiply(direction_.data(), upper_.data(), product_.data(), project);
  for (int64_t c = 0; c < dim; ++c) {
    const double value = value_.data()[c];
    const auto spread = static_cast<float>(std::sqrt(std::sqrt(value)));
    for (int64_t d = 0; d < dim; ++d) query_map_.data()[d * dim + c] *= spread;
    if (c >= dim_) continue;
    const float inverse = spread > 0.0F ? 1.0F / spread : 0.0F;
    for (int64_t d = 0; d < dim; ++d) {
      key_map_.data()[d * dim_ + c] = product_.data()[c * dim + d] * inverse;
    }
  }
}

void ScoreBasis::set_identity() {
  dim_ = head_dim_;
  for (auto* map : {&query_map_, &key_map_}) {
    std::fill_n(map->data(), dim_ * dim_, 0.0F);
    for (int64_t d = 0; d < dim_; ++d) map->data()[d * dim_ + d] = 1.0F;
  }
}

double ScoreBasis::left_out(const float* a) const {
  // b's variance in direction c is √λ_c of the samples as they were scaled.
  double sum = 0.0;
  for (int64_t c = dim_; c < head_dim_; ++c) {
    sum += static_cast<double>(a[c]) * a[c] * std::sqrt(value_.data()[c]);
  }
  return sum * key_scale_ * key_scale_;
}

void ScoreBasis::find(const AttentionCall& call, int64_t kv_head, KeyRange keys,
                      const AttendKernel& attend, const ProjectKernel& project) {
  const int64_t dim = head_dim_;
  float* mean = mean_.data();
  std::fill_n(mean, dim, 0.0F);
  std::fill_n(value_.data(), dim, 0.0);
  const int64_t queries = sample_queries(call, kv_head);
  query_scale_ = scale_sample(queries);
  bool found = query_scale_ > 0.0 && second_moment(queries, project, query_.data()) && factorise();
  const int64_t count = sample_keys(call, kv_head, keys, attend);
  if (count > 0) centre(count);
  key_scale_ = scale_sample(count);
  found = found && key_scale_ > 0.0 && second_moment(count, project, key_.data());
  if (found) {
    rotate(project);
    const double unit = call.scale * query_scale_ * key_scale_;
    choose_dim(kLeftOut * kLeftOut / (unit * unit));
    make_maps(project);
  } else {
    set_identity();
  }
  // b = map · (k - mean)
  float* start = key_start_.data();
  std::fill_n(start, dim_, 0.0F);
  for (int64_t d = 0; d < dim; ++d) {
    for (int64_t c = 0; c < dim_; ++c) start[c] -= mean[d] * key_map_.data()[d * dim_ + c];
  }
}

}  // namespace shadowattn
