// How far an INT8 estimate of a logit, and of a share of softmax mass, can be off.
//
// With k = k_step · k8 + e, q = q_step · q8 + f and the roundings e, f of each element taken as
// independent and uniform in ± half a step (variance step² / 12), the logit s = scale · q·k is
// estimated with an error of variance
//
//   σ² = scale² · (‖q‖² · k_step² / 12 + ‖k‖² · q_step² / 12)        (e·f is of second order)
//
// and sub-Gaussian tails: E[exp(λ · error)] ≤ exp(λ² σ² / 2). So for keys D that a list drops, of
// the estimated mass m̂ and the true mass m, with L = Σ_D exp(s) and K = Σ_kept exp(s),
//
//   E[L / K] ≤ m̂ / (1 - m̂) · exp(2σ²)
//
// for E[L²] ≤ L̂² · exp(2σ²), E[1 / K²] ≤ exp(2σ²) / K̂² (both by convexity) and Cauchy and Schwarz,
// however the errors of L and K depend on each other. Two roundings of the arithmetic come on top:
// straight lines for powers of two, at most 6.2 % (pilot_dot.h), and ranks of 7 bits, 0.8 %.
#pragma once

#include <cstdint>

namespace shadowattn {

/// One row and the keys that it is compared with.
struct QuantisedPair {
  double scale = 1.0;        ///< softmax scale
  double query_norm2 = 0.0;  ///< ‖q‖²
  double query_step = 0.0;
  double key_norm2 = 0.0;  ///< ‖k‖², the largest
  double key_step = 0.0;   ///< the largest
};

/// σ².
double logit_error_variance(const QuantisedPair& pair);

/// The largest ‖x‖² of `rows` INT8 rows [rows][dim] with scales.
double largest_norm2_of(const int8_t* x, const float* scale, int64_t rows, int64_t dim);

/// What the estimate may say is lost so that no more than attn_error is expected to be; 0 when the
/// estimate is too rough to promise that: what it says is lost could be eight times as much.
double estimated_budget(double attn_error, double error_variance);

}  // namespace shadowattn
