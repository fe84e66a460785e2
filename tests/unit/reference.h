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
#include "shadowattn/engine.h"

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

/// Row less `mean`: the scale from its largest element, elements by the inverse of the scale.
inline QuantizedRow reference_quantize_centred(const TensorView& x, int64_t head, int64_t row,
                                               const std::vector<float>& mean) {
  QuantizedRow result;
  result.q.assign(static_cast<size_t>(x.dim), 0);
  float absmax = 0.0F;
  for (int64_t d = 0; d < x.dim; ++d) {
    const float value = element(x, head, row, d) - mean[static_cast<size_t>(d)];
    if (!std::isfinite(value)) result.finite = false;
    absmax = std::max(absmax, std::fabs(value));
  }
  if (!result.finite || absmax < kSmallestQuantizable) return result;
  result.scale = absmax / 127.0F;
  const float inverse = 1.0F / result.scale;
  for (int64_t d = 0; d < x.dim; ++d) {
    const float value = element(x, head, row, d) - mean[static_cast<size_t>(d)];
    const float steps = std::clamp(value * inverse, -127.0F, 127.0F);
    result.q[static_cast<size_t>(d)] = static_cast<int8_t>(std::nearbyint(steps));
  }
  return result;
}

/// What the pilot subtracts from keys [begin, end) (pilot/key_mean.h); empty: nothing.
inline std::vector<float> reference_key_mean(const TensorView& keys, int64_t head, int64_t begin,
                                             int64_t end) {
  const int64_t step = (end - begin + 1023) / 1024;
  std::vector<float> mean(static_cast<size_t>(keys.dim), 0.0F);
  int64_t count = 0;
  for (int64_t j = begin + step / 2; j < end; j += step, ++count) {
    for (int64_t d = 0; d < keys.dim; ++d) {
      mean[static_cast<size_t>(d)] += element(keys, head, j, d);
    }
  }
  for (float& x : mean) {
    x /= static_cast<float>(count);
    if (!std::isfinite(x)) return {};
  }
  double as_they_are = 0.0;
  double centred = 0.0;
  for (int64_t j = begin + step / 2; j < end; j += step) {
    const QuantizedRow row = reference_quantize(keys, head, j);
    const QuantizedRow less = reference_quantize_centred(keys, head, j, mean);
    if (!row.finite || !less.finite) return {};
    as_they_are += row.scale;
    centred += less.scale;
  }
  return centred < as_they_are ? mean : std::vector<float>();
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
/// shadowattn/device.h in floating point: every step is exact in double.
inline int8_t reference_requantised(int64_t acc, int32_t mantissa, int32_t shift) {
  const double unit = std::exp2(shift);
  const double added = shift == 0 ? 0.0 : unit / 2;
  const double shifted = std::floor((static_cast<double>(acc) + added) / unit);
  const double word = std::clamp(shifted, -32768.0, 32767.0);
  const double rounded = std::floor((word * mantissa + 16384.0) / 32768.0);
  return static_cast<int8_t>(std::clamp(rounded, -127.0, 127.0));
}

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
/// BF16 has 8 significant bits: rounding to nearest is wrong by at most half a unit of the last,
/// 2^-8 of a number just above a power of two.
inline constexpr double kBf16Unit = 0x1p-8;
/// 2^x inside the attend16 kernels, as attend16.h states it.
inline constexpr double kExp2Error = 2.71e-6;
/// How far the reference of the attend16 weights may lag behind the logits, in log2 units.
inline constexpr double kReferenceLag = 8.0;

/// Bound of the relative error of n roundings in a row (Higham's gamma).
inline double gamma(double n) { return n * kUnit / (1.0 - n * kUnit); }

/// True value and how far a correct kernel may be from it.
struct Bounded {
  double value = 0.0;
  double tolerance = 0.0;
};

/// How a row is computed, as far as its error depends on it.
struct Arithmetic {
  Precision precision = Precision::kF32;  ///< kFast: 16-bit operands, as attend16.h
  int64_t block = 64;                     ///< keys that the online recurrence takes at a time
  int64_t parts = 1;                      ///< shares of the keys whose states are combined
};

/// One output row in double precision. `keep`: which keys take part, beside those that are hidden.
///
/// The tolerance, with u = 2^-24, gamma(n) = n·u / (1 - n·u), E = error of exp, T = error of tanh,
/// n keys, B blocks (n / block + 2, for runs may start anywhere), P parts:
///
/// 1. A logit is a sum of D products of factors with at most two roundings:
///      e = gamma(D + 2) · Σ_d |scale · q_d · k_d|  (+ what is lost to underflow, D · 2^-148).
///    Soft-cap: tanh narrows the interval s ± e; to that come the division (|y·tanh'(y)| < 1
///    carries its relative error), tanh's own error and the multiplication: cap·(T + 3·u).
///    Bias: product with the slope and sum: e += u · (|bias| + |s|).
/// 2. exp's argument s - m is rounded: u·|s - m|. An error a in the argument is a factor e^a.
///    The computed maximum need not be the true one: it cancels in the quotient.
/// 3. A weight is rescaled at most once per block by exp(m_old - m_new); the differences sum to at
///    most the range R of the logits: B · (E + 2·u) + u·R. Parts are rescaled alike, by std::exp
///    (within 2·u) and with the rounding of a product: (P - 1) · 4·u + u·R.
/// 4. So a weight has relative error eta = exp(e + u·|s - m| + u·R + (B + 1)·(E + 2·u) + parts)
/// - 1.
/// 5. Sums of weights and of weights times values: at most n + B + P roundings each, then the
///    division, the product with 1/l and the sink's sum: g = gamma(n + B + P + 5).
/// 6. exp gives 0 below e^-87.3 and a product may underflow: n · (2^-125 · max|v| + 2^-148).
///
/// With 16-bit operands instead, L = floor(sqrt((2^31 - 1) / D)), at most 32767, a = absmax:
///
/// 1. An operand x·L/a is rounded to an integer after two roundings of f32: in units of the step
///    a / L it is off by δ = 1/2 + 2·u·L (rows below 2^-100 count as zero: off by a). INT32 sums
///    are exact. Eight roundings lead from there to s: the sum to f32, two steps, scale · log2 e
///    (two, for log2 e is rounded too) and three products. A step may underflow: 2^-30 covers it.
///      e = |scale| · (Σ|q|·δk + Σ|k|·δq + D·δq·δk) + gamma(8) · (|s| + that) + 2^-30
///    Soft-cap and bias are multiplied by log2 e as well: cap·(T + 6·u), u · (3·|bias| + |s|).
/// 2. E = 2.71e-6. Each weight is rounded to BF16, 2^-8, before it is used or summed.
/// 3. The reference is raised only by more than 8 log2 units: at most R·log2 e / 8 times. Parts:
///    their references are turned into natural units, 2·u · max|s|.
/// 5. Values are rounded to BF16: 2^-8 · |v|. Sums of weights have 16 lanes. Arm's bfmmla rounds to
///    odd, an error of 2·u, once for the products of two keys and once when it adds them: with
///    (n + B) / 2 pairs, for a block's last key may lack a partner, n + B + 2 roundings of u, to
///    which come B of rescaling, P and 5: g = gamma(n + 2·B + P + 21).
/// 6. BF16 and its products have no subnormals: n · (2^-124 · max|v| + 2^-124).
///
/// Weights that are w_j·(1 + d_j), |d_j| ≤ eta_j, in both sums move the output by
/// Σ_j w_j·d_j·(v_j - o) / (1 + Σ_j w_j·d_j), and never out of the range of the values. Hence
///
///    move    = min(Σ_j w_j·eta_j·|v_j - o| / (1 - H), max_j|v_j - o|),   H = Σ_j w_j·eta_j
///    |error| ≤ move + g·(M + |o| + move) + 2^-8·M (16 bit) + underflow,
///
/// M = min(Σ_j w_j·(1 + eta_j)·|v_j| / (1 - H), max|v|). The sink is a weight whose value is zero.
/// A factor of 1.01 covers the products of small errors.
class ReferenceRow {
 public:
  using Filter = std::function<bool(int64_t key)>;

  ReferenceRow(const AttentionCall& call, int64_t head, int64_t row, const Filter& keep = {},
               const Arithmetic& arithmetic = {})
      : call_(call),
        head_(head),
        row_(row),
        kv_head_(head / (call.query.heads / call.key.heads)),
        arithmetic_(arithmetic),
        query_(norms(call.query, head, row)) {
    for (int64_t j = 0; j < call.key.rows; ++j) {
      if (!reference_sees(call, head, row, j) || (keep && !keep(j))) continue;
      add_logit(j);
    }
    normalise();
  }

  int64_t keys() const { return static_cast<int64_t>(terms_.size()); }

  Bounded output(int64_t d) const {
    double value = 0.0;
    for (const Term& term : terms_) value += term.weight * value_of(term, d);
    double moved = sink_weight_ * sink_error_ * std::fabs(value);
    double farthest = sink_weight_ > 0.0 ? std::fabs(value) : 0.0;
    double magnitude = 0.0;
    double largest = 0.0;
    for (const Term& term : terms_) {
      const double v = value_of(term, d);
      const double distance = std::fabs(v - value);
      moved += distance == 0.0 ? 0.0 : term.weight * term.error * distance;
      magnitude += v == 0.0 ? 0.0 : term.weight * (1.0 + term.error) * std::fabs(v);
      farthest = std::max(farthest, distance);
      largest = std::max(largest, std::fabs(v));
    }
    const double shrink = 1.0 - weight_error_;
    const double move = shrink > 0.0 ? std::min(moved / shrink, farthest) : farthest;
    magnitude = shrink > 0.0 ? std::min(magnitude / shrink, largest) : largest;
    const double n = static_cast<double>(keys());
    const double roundings = n + blocks() + static_cast<double>(arithmetic_.parts);
    const double rounding = gamma(roundings + (fast() ? blocks() + 21 : 5));
    double first_order = move + rounding * (magnitude + std::fabs(value) + move);
    if (fast()) first_order += kBf16Unit * magnitude;
    const double underflow =
        fast() ? n * 0x1p-124 * (largest + 1.0) : n * (0x1p-125 * largest + 0x1p-148);
    return {value, 1.01 * first_order + underflow};
  }

 private:
  struct Term {
    int64_t key = 0;
    double logit = 0.0;
    double weight = 0.0;
    double error = 0.0;  // of the logit, then of the weight (relative)
  };

  /// What the error of a 16-bit operand depends on.
  struct Norms {
    double sum = 0.0;    // of magnitudes
    double error = 0.0;  // of an element, at most
  };

  static Norms norms(const TensorView& x, int64_t head, int64_t row) {
    const auto dim = static_cast<double>(x.dim);
    const double limit = std::min(std::floor(std::sqrt(2147483647.0 / dim)), 32767.0);
    Norms n;
    double absmax = 0.0;
    for (int64_t d = 0; d < x.dim; ++d) {
      const double magnitude = std::fabs(element(x, head, row, d));
      n.sum += magnitude;
      absmax = std::max(absmax, magnitude);
    }
    n.error = absmax < 0x1p-100 ? absmax : absmax / limit * (0.5 + 2.0 * kUnit * limit);
    return n;
  }

  bool fast() const { return arithmetic_.precision == Precision::kFast; }
  double blocks() const { return static_cast<double>(call_.key.rows / arithmetic_.block + 2); }
  double value_of(const Term& term, int64_t d) const {
    return element(call_.value, kv_head_, term.key, d);
  }

  /// Error of Σ_d scale · q_d · k_d, whose terms' magnitudes sum to `magnitude`.
  double product_error(int64_t j, double logit, double magnitude) const {
    const auto dim = static_cast<double>(call_.query.dim);
    if (!std::isfinite(magnitude)) return 0.0;  // an infinite logit is infinite in f32 too
    if (!fast()) return gamma(dim + 2) * magnitude + dim * 0x1p-148;
    const Norms key = norms(call_.key, kv_head_, j);
    const double operands =
        std::fabs(static_cast<double>(call_.scale)) *
        (query_.sum * key.error + key.sum * query_.error + dim * query_.error * key.error);
    return operands + gamma(8) * (std::fabs(logit) + operands) + 0x1p-30;
  }

  void add_logit(int64_t j) {
    Term term;
    term.key = j;
    double magnitude = 0.0;
    for (int64_t d = 0; d < call_.query.dim; ++d) {
      const double product = static_cast<double>(call_.scale) *
                             element(call_.query, head_, row_, d) *
                             element(call_.key, kv_head_, j, d);
      term.logit += product;
      magnitude += std::fabs(product);
    }
    term.error = product_error(j, term.logit, magnitude);
    if (call_.logit_softcap != 0.0F) {
      const double cap = call_.logit_softcap;
      term.error = cap * (std::tanh((term.logit + term.error) / cap) -
                          std::tanh((term.logit - term.error) / cap)) +
                   cap * (kTanhError + (fast() ? 6 : 3) * kUnit);
      term.logit = cap * std::tanh(term.logit / cap);
    }
    const double bias = reference_bias(call_, head_, row_, j);
    if (bias != 0.0) {
      term.logit += bias;
      term.error += kUnit * ((fast() ? 3 : 1) * std::fabs(bias) + std::fabs(term.logit));
    }
    terms_.push_back(term);
  }

  /// Error of a weight's exponent from being rescaled, in blocks and in parts.
  double rescale_error(double range, double largest) const {
    const double parts = static_cast<double>(arithmetic_.parts - 1);
    double error = parts > 0.0 ? parts * 4 * kUnit + kUnit * range : 0.0;
    if (!fast()) return error + kUnit * range + blocks() * (kExpError + 2 * kUnit);
    if (parts > 0.0) error += 2 * kUnit * largest;
    const double raises = std::min(blocks(), range * 1.4427 / kReferenceLag);
    return error + kUnit * range + raises * (kExp2Error + 2 * kUnit);
  }

  void normalise() {
    double maximum = -kInfinity;
    double minimum = kInfinity;
    double largest = 0.0;
    for (const Term& term : terms_) {
      maximum = std::max(maximum, term.logit);
      if (!std::isfinite(term.logit)) continue;
      minimum = std::min(minimum, term.logit);
      largest = std::max(largest, std::fabs(term.logit));
    }
    double sink = -kInfinity;
    if (call_.sink_logits != nullptr) sink = call_.sink_logits[head_];
    const double reference = std::max(maximum, sink);
    const double weight_error =
        fast() ? kExp2Error + 2 * kUnit + std::log1p(kBf16Unit) : kExpError + 2 * kUnit;
    const double rescaled = rescale_error(std::max(maximum - minimum, 0.0), largest);
    double sum = 0.0;
    if (sink != -kInfinity) {
      sink_weight_ = sum = std::exp(sink - reference);
      // A sink above the maximum counts as exactly 1; the weights carry the error of the
      // difference. Else its own argument's rounding and std::exp's.
      if (sink <= maximum) sink_error_ = std::expm1(kUnit * (maximum - sink) + 4 * kUnit);
      // The reference that it is compared with was turned into natural units.
      if (fast()) sink_error_ += std::expm1(2 * kUnit * largest + kUnit * kReferenceLag);
    }
    for (Term& term : terms_) {
      term.weight = std::exp(term.logit - reference);
      term.error = std::expm1(term.error + kUnit * (maximum - term.logit) + rescaled +
                              weight_error + (fast() ? kUnit * kReferenceLag : 0.0));
      if (sink > maximum) term.error += kUnit * (sink - maximum) + 4 * kUnit;
      if (term.weight == 0.0) term.error = 0.0;  // within the underflow term
      sum += term.weight;
    }
    for (Term& term : terms_) {
      term.weight /= sum;
      weight_error_ += term.weight * term.error;
    }
    sink_weight_ /= sum;
    weight_error_ += sink_weight_ * sink_error_;
  }

  const AttentionCall& call_;
  int64_t head_;
  int64_t row_;
  int64_t kv_head_;
  Arithmetic arithmetic_;
  Norms query_;
  std::vector<Term> terms_;
  double sink_weight_ = 0.0;
  double sink_error_ = 0.0;    // relative
  double weight_error_ = 0.0;  // H above
};

}  // namespace shadowattn::test
