// What the kernels and the engine are compared with: the formulas of the headers as plain loops.
// Attention is computed in double precision; the integer families follow their contracts to the
// bit. Nothing here uses code of src/ except the contracts' constants.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

#include "kernels/quantize/quantize.h"
#include "kernels/select/select.h"
#include "random_tensor.h"
#include "shadowattn/attention.h"

namespace shadowattn::test {

// --- quantize -----------------------------------------------------------------------------------

struct QuantizedRow {
  std::vector<int8_t> q;
  float scale = 0.0F;
  bool finite = true;
};

inline QuantizedRow reference_quantize(const TensorView& x, int64_t head, int64_t row) {
  QuantizedRow result;
  result.q.assign(static_cast<size_t>(x.dim), 0);
  float absmax = 0.0F;
  for (int64_t d = 0; d < x.dim; ++d) {
    const float value = element(x, head, row, d);
    if (!std::isfinite(value)) result.finite = false;
    absmax = std::max(absmax, std::fabs(value));
  }
  if (!result.finite || absmax < kSmallestQuantizable) return result;
  result.scale = absmax / 127.0F;
  const float inverse = 127.0F / absmax;
  for (int64_t d = 0; d < x.dim; ++d) {
    const float scaled = element(x, head, row, d) * inverse;
    result.q[static_cast<size_t>(d)] = static_cast<int8_t>(std::nearbyint(scaled));
  }
  return result;
}

// --- pilot_dot ----------------------------------------------------------------------------------

inline int16_t reference_score(const int8_t* q, const int8_t* k, int64_t dim, float key_factor,
                               float row_factor) {
  int64_t dot = 0;
  for (int64_t d = 0; d < dim; ++d) dot += static_cast<int64_t>(q[d]) * k[d];
  const float product = static_cast<float>(dot) * key_factor;
  const float scaled = product * row_factor;
  const double clamped = std::clamp(static_cast<double>(scaled), -32767.0, 32767.0);
  return static_cast<int16_t>(std::nearbyint(clamped));
}

/// Upper half of the sum of shares of all rows, whose INT8 rows follow each other in `q`.
inline int16_t reference_rank(const int8_t* q, int64_t rows, const int8_t* k, int64_t dim,
                              float key_factor, const float* slope, const float* offset) {
  float share = 0.0F;
  for (int64_t r = 0; r < rows; ++r) {
    int64_t dot = 0;
    for (int64_t d = 0; d < dim; ++d) dot += static_cast<int64_t>(q[r * dim + d]) * k[d];
    const float product = static_cast<float>(dot) * key_factor;
    const double bits = std::fma(product, slope[r], offset[r]);  // rounded once, to f32
    const auto clamped = static_cast<uint32_t>(std::clamp(bits, 0.0, 247.0 * 0x1p23));
    share += std::bit_cast<float>(clamped);
  }
  return static_cast<int16_t>(std::bit_cast<uint32_t>(share) >> 16);
}

// --- select -------------------------------------------------------------------------------------

/// By sorting everything.
inline std::vector<int32_t> reference_top_k(const std::vector<int16_t>& scores, int64_t n,
                                            int64_t k) {
  std::vector<int32_t> order;
  for (int64_t j = 0; j < n; ++j) {
    if (scores[static_cast<size_t>(j)] != kHiddenScore) order.push_back(static_cast<int32_t>(j));
  }
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  if (static_cast<int64_t>(order.size()) > k)
    order.resize(static_cast<size_t>(std::max<int64_t>(k, 0)));
  std::sort(order.begin(), order.end());
  return order;
}

/// Σ round(2^16 · e2((s - max) · c)): e2 by the bits of an f32, as every kernel must.
inline int64_t reference_exp_sum(const std::vector<int16_t>& scores, int16_t max, float c) {
  int64_t sum = 0;
  for (const int16_t s : scores) {
    if (s == kHiddenScore) continue;
    const float x = static_cast<float>(s - max) * c;
    const float shifted = std::max(x + 127.0F, 0.0F) * 0x1p23F;  // exponent and fraction
    sum += std::llrint(static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(shifted))) *
                       kExpSumOne);
  }
  return sum;
}

// --- attention ----------------------------------------------------------------------------------

/// What the mask adds to a logit; -inf when the key is hidden.
inline double reference_bias(const AttentionCall& call, int64_t head, int64_t row, int64_t key) {
  const Mask& mask = call.mask;
  if (mask.kind == MaskKind::kNone) return 0.0;
  if (mask.kind == MaskKind::kCausal) {
    return key <= row + mask.causal_offset ? 0.0 : -kInfinity;
  }
  const double value = element(mask.additive, head % mask.additive.heads, row, key);
  if (value == -kInfinity || mask.slopes == nullptr) return value;
  return value * mask.slopes[head];
}

inline bool reference_sees(const AttentionCall& call, int64_t head, int64_t row, int64_t key) {
  return reference_bias(call, head, row, key) != -kInfinity;
}

/// Roundings of f32: every operation has a relative error of at most u.
inline constexpr double kUnit = 0x1p-24;
/// exp: attend.h states 4.26 · u, measured over every float; attend_test.cpp checks.
inline constexpr double kExpError = 4.375 * kUnit;
/// tanh: absolute, as exp_impl.h states it.
inline constexpr double kTanhError = 0x1p-22;

/// Bound of the relative error of n roundings in a row (Higham's gamma).
inline double gamma(double n) { return n * kUnit / (1.0 - n * kUnit); }

/// True value and how far a correct f32 kernel may be from it.
struct Bounded {
  double value = 0.0;
  double tolerance = 0.0;
};

/// One output row in double precision. `keep`: which keys take part, beside those that are hidden.
///
/// The tolerance, with u = 2^-24, gamma(n) = n·u / (1 - n·u), E = error of exp, T = error of tanh,
/// n keys, B blocks of at most 64 keys (at most n / 64 + 2, for runs may start anywhere):
///
/// 1. A logit is a sum of D products of factors with at most two roundings:
///      e = gamma(D + 2) · Σ_d |scale · q_d · k_d|  (+ what is lost to underflow, D · 2^-148).
///    Soft-cap: tanh narrows the interval s ± e; to that come the division (|y·tanh'(y)| < 1
///    carries its relative error), tanh's own error and the multiplication: cap·(T + 3·u).
///    Bias: product with the slope and sum: e += u · (|bias| + |s|).
/// 2. exp's argument s - m is rounded: u·|s - m|. An error a in the argument is a factor e^a.
///    The computed maximum need not be the true one: it cancels in the quotient.
/// 3. A weight is rescaled at most once per block by exp(m_old - m_new); the differences sum to at
///    most the range R of the logits: B · (E + 2·u) + u·R.
/// 4. So a weight has relative error eta = exp(e + u·|s - m| + u·R + (B + 1)·(E + 2·u)) - 1.
/// 5. Sums of weights and of weights times values: at most n + B roundings each, then the
///    division, the product with 1/l and the sink's sum: gamma(n + B + 6).
/// 6. exp gives 0 below e^-87.3 and a product may underflow: n · (2^-125 · max|v| + 2^-148).
///
///    |error| ≤ Σ_j w_j·|v_j|·(eta_j + gamma) + |o|·(Σ_j w_j·eta_j + gamma) + underflow, to first
///    order; eta and gamma are far below 1, and a factor of 1.01 covers their products.
class ReferenceRow {
 public:
  using Filter = std::function<bool(int64_t key)>;

  ReferenceRow(const AttentionCall& call, int64_t head, int64_t row, const Filter& keep = {})
      : call_(call), head_(head), row_(row), kv_head_(head / (call.query.heads / call.key.heads)) {
    for (int64_t j = 0; j < call.key.rows; ++j) {
      if (!reference_sees(call, head, row, j) || (keep && !keep(j))) continue;
      add_logit(j);
    }
    normalise();
  }

  int64_t keys() const { return static_cast<int64_t>(terms_.size()); }

  Bounded output(int64_t d) const {
    double value = 0.0;
    double magnitude = 0.0;
    double spread = 0.0;
    double largest = 0.0;
    for (const Term& term : terms_) {
      const double v = element(call_.value, kv_head_, term.key, d);
      value += term.weight * v;
      magnitude += term.weight * std::fabs(v);
      spread += term.weight * std::fabs(v) * term.error;
      largest = std::max(largest, std::fabs(v));
    }
    const double n = static_cast<double>(keys());
    const double rounding = gamma(n + blocks() + 6);
    const double underflow = n * (0x1p-125 * largest + 0x1p-148);
    const double first_order =
        spread + magnitude * rounding + std::fabs(value) * (weight_error_ + rounding);
    return {value, 1.01 * first_order + underflow};
  }

 private:
  struct Term {
    int64_t key = 0;
    double logit = 0.0;
    double weight = 0.0;
    double error = 0.0;  // of the logit, then of the weight (relative)
  };

  double blocks() const { return static_cast<double>(call_.key.rows / 64 + 2); }

  void add_logit(int64_t j) {
    const int64_t dim = call_.query.dim;
    Term term;
    term.key = j;
    double magnitude = 0.0;
    for (int64_t d = 0; d < dim; ++d) {
      const double product = static_cast<double>(call_.scale) *
                             element(call_.query, head_, row_, d) *
                             element(call_.key, kv_head_, j, d);
      term.logit += product;
      magnitude += std::fabs(product);
    }
    if (std::isfinite(magnitude)) {  // an infinite logit is infinite in f32 too
      term.error =
          gamma(static_cast<double>(dim) + 2) * magnitude + static_cast<double>(dim) * 0x1p-148;
    }
    if (call_.logit_softcap != 0.0F) {
      const double cap = call_.logit_softcap;
      term.error = cap * (std::tanh((term.logit + term.error) / cap) -
                          std::tanh((term.logit - term.error) / cap)) +
                   cap * (kTanhError + 3 * kUnit);
      term.logit = cap * std::tanh(term.logit / cap);
    }
    const double bias = reference_bias(call_, head_, row_, j);
    if (bias != 0.0) {
      term.logit += bias;
      term.error += kUnit * (std::fabs(bias) + std::fabs(term.logit));
    }
    terms_.push_back(term);
  }

  void normalise() {
    double maximum = -kInfinity;
    double minimum = kInfinity;
    for (const Term& term : terms_) {
      maximum = std::max(maximum, term.logit);
      if (std::isfinite(term.logit)) minimum = std::min(minimum, term.logit);
    }
    double sink = -kInfinity;
    if (call_.sink_logits != nullptr) sink = call_.sink_logits[head_];
    const double reference = std::max(maximum, sink);
    double sum = 0.0;
    double sink_error = 0.0;  // of the sink's own weight: its argument's rounding and std::exp's
    if (sink != -kInfinity) {
      sum = std::exp(sink - reference);
      // A sink above the maximum counts as exactly 1; the weights carry the error of the
      // difference.
      if (sink <= maximum) sink_error = sum * std::expm1(kUnit * (maximum - sink) + 4 * kUnit);
    }
    for (Term& term : terms_) {
      term.weight = std::exp(term.logit - reference);
      const double range = maximum - minimum;
      term.error = std::expm1(term.error + kUnit * (maximum - term.logit) + kUnit * range +
                              (blocks() + 1) * (kExpError + 2 * kUnit));
      if (sink > maximum) term.error += kUnit * (sink - maximum) + 4 * kUnit;
      if (term.weight == 0.0) term.error = 0.0;  // within the underflow term
      sum += term.weight;
    }
    for (Term& term : terms_) {
      term.weight /= sum;
      weight_error_ += term.weight * term.error;
    }
    if (sink_error > 0.0) weight_error_ += sink_error / sum;
  }

  const AttentionCall& call_;
  int64_t head_;
  int64_t row_;
  int64_t kv_head_;
  std::vector<Term> terms_;
  double weight_error_ = 0.0;  // of the sum of weights, relative
};

}  // namespace shadowattn::test
