// Kernel family `attend16`: softmax attention over a block of keys with 16-bit operands and f32
// sums, for processors that multiply those two to three times as fast as f32. With row r of the
// query and key j of the block,
//
//   q16[r] = round(q[r] · (L / a)),  q_step[r] = a / L · factor,  a = absmax(q[r])      INT16
//   k16[j] = round(k[j] · (L / a)),  k_step[j] = a / L,           a = absmax(k[j])      INT16
//   s[j]   = cap((Σ_d q16·k16) · k_step[j] · q_step[r]) + bias[r][j]
//   p[j]   = bf16(2^(s[j] - m))                                       m: see below
//   l      = l + Σ_j p[j]                     (of the rounded weights, so that they sum to one)
//   o      = o + Σ_j p[j] · bf16(v[j])
//
// Logits are in base-2 units: `factor` is the softmax scale times log2 e. L = int16_limit(D) is the
// largest integer for which the INT32 sums of D products cannot overflow: 5792 for D = 64, 4095 for
// D = 128, so that operands keep 12 to 13 bits relative to the largest element of their row. Ties
// are rounded to even. A row whose absmax is below 2^-100 counts as zero (step 0).
//
// Two kernels, two layouts: how keys and values are packed is each kernel's own affair; key_element
// and value_element look an operand up.
//
// Errors, to first order, with u = 2^-24, δq = a / L · (1/2 + 2u·L) for an element of q, δk alike:
//
//   |δs| ≤ |factor| · (‖q‖₁·δk + ‖k‖₁·δq + D·δq·δk) + 6u · |s|
//          (without the rounding of `factor`, soft-cap and bias; the six: the sum and two steps)
//   |δp| ≤ p · (2^-8 + 2.71e-6 + u·|s - m|)     half of the last of BF16's 8 bits, 2^x, s - m
//   |δv| ≤ |v| · 2^-8
//
// Sums over values are in f32, two keys at a time. AVX-512 rounds to nearest, twice for two keys;
// Arm to odd (2u: an inexact result gets a last bit of 1), once for the sum of two products and
// once when that is added. A last key without a partner costs 2u as well: u more for each block.
//
// BF16 has no subnormals here: weights, values and products below 2^-126 may count as zero. The
// whole derivation, and the bound of an output row: tests/unit/reference.h.
//
// The reference m of the weights is a former maximum of the row: it is only raised when a logit
// exceeds it by more than kAttend16Slack, so weights reach 2^kAttend16Slack and the output is
// almost never rescaled. It cancels in o / l. It is -inf until the row sees a logit.
//
// Rows are few (one decode step of a group of heads) or hundreds (a dense prefill tile); keys are
// packed once per block for all of them. Queries and keys must be finite and below
// kAttend16Largest; the packing functions say when they are not, and the caller takes the f32
// kernels of attend.h. Values are not looked at: a value that is not finite, or that BF16 rounds to
// infinity, makes the output so (also where its weight is zero), and the caller takes f32 then too.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "kernels/attend/attend.h"
#include "shadowattn/cpu.h"

namespace shadowattn {

/// Lanes of the row sums.
inline constexpr int64_t kAttend16Lanes = 16;
inline constexpr int64_t kAttend16MaxDim = 256;
inline constexpr float kAttend16Slack = 8.0F;
inline constexpr float kAttend16Largest = 0x1p100F;

/// Largest magnitude of an INT16 operand for sums over `dim` products.
inline int32_t int16_limit(int64_t dim) {
  const double limit = std::sqrt(static_cast<double>(std::numeric_limits<int32_t>::max()) /
                                 static_cast<double>(dim));
  return static_cast<int32_t>(std::min(limit, 32767.0));
}

struct Attend16Block {
  const int16_t* query = nullptr;     ///< [rows][dim]
  const float* query_step = nullptr;  ///< [rows], factor included
  const int32_t* key = nullptr;       ///< by pack_keys
  const float* key_step = nullptr;    ///< [kAttendBlock]
  const int32_t* value = nullptr;     ///< by pack_values
  int64_t rows = 0;                   ///< any number
  int64_t keys = 0;                   ///< 1 … kAttendBlock
  int64_t dim = 0;                    ///< multiple of 16, kAttend16MaxDim at most
  int64_t value_dim = 0;              ///< multiple of 16
  /// [rows]: bit j is set when the row sees key j, and no bit beyond the keys; null: all are seen.
  const uint64_t* visible = nullptr;
  const float* bias = nullptr;  ///< [rows][kAttendBlock] base-2 units, -inf hides; or null
  float logit_softcap = 0.0F;   ///< base-2 units; 0: none
  float* max = nullptr;         ///< [rows] m, in and out, as are the next two; -inf at first
  float* sum = nullptr;         ///< [rows][kAttend16Lanes], to be added up at the end
  float* out = nullptr;         ///< [rows][value_dim]
  uint16_t* weights = nullptr;  ///< scratch, kAttend16Weights elements
};

/// Elements of Attend16Block::weights.
inline constexpr int64_t kAttend16Weights = 8 * kAttendBlock;

struct Attend16Kernel {
  std::string_view name;
  CpuFeatures needs;

  /// One query row [dim] to INT16; *step = q_step. False when it, or the step, is not finite or too
  /// large.
  bool (*pack_query)(const float* q, int64_t dim, float factor, int16_t* packed, float* step);
  /// Keys index[0 … count-1], or first … first+count-1 when index is null, as
  /// dim/2 · kAttendBlock words in the kernel's own layout, and their steps; the rest of the block
  /// becomes zero keys. False as above.
  bool (*pack_keys)(const RowSource& source, const int32_t* index, int64_t first, int64_t count,
                    int64_t dim, int32_t* packed, float* step);
  /// The same rows of V as BF16, kAttendBlock/2 · dim words in the kernel's own layout, zero beyond
  /// `count`.
  void (*pack_values)(const RowSource& source, const int32_t* index, int64_t first, int64_t count,
                      int64_t dim, int32_t* packed);
  /// Element d of a packed key of the block, and the BF16 bits of that of a value, for tests.
  int16_t (*key_element)(const int32_t* packed, int64_t dim, int64_t key, int64_t d);
  uint16_t (*value_element)(const int32_t* packed, int64_t dim, int64_t key, int64_t d);
  void (*block)(const Attend16Block& block);
};

/// Best first. Empty where no instruction set of this build has fast 16-bit products: unlike the
/// other families there is no portable kernel, for it would be slower than f32.
const std::vector<Attend16Kernel>& attend16_kernels();

}  // namespace shadowattn
