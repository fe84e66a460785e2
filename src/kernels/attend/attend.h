// Kernel family `attend`: exact softmax attention of a few query rows over a block of keys, with
// the online recurrence. For row r with running maximum m, sum l and unnormalised output o:
//
//   s[j] = cap(q[r] · k[j]) + bias[j][r]          (q already holds the scale)
//   m'   = max(m, max_j s[j]);   p[j] = exp(s[j] - m');   a = exp(m - m')
//   l    = l · a + Σ_j p[j];     o = o · a + Σ_j p[j] · v[j];     m = m'
//
// (Milakov and Gimelshein, arXiv 1805.02867). The caller starts with m = -inf, l = 0, o = 0 and
// divides o by l at the end. All arithmetic is f32. A bias of -inf, or a bit of `visible` that is
// not set, hides the key from the row: neither its key nor its value reaches the result, whatever
// they hold. Blocks may come in any order; the result depends on the order and on the kernel,
// within rounding.
//
// exp: argument reduction by ln 2 and a polynomial of degree 6. Relative error for arguments down
// to -87.3, over every float: 4.26 · 2^-24 without fused multiply-add, 3.88 · 2^-24 with it; below
// -87.3 the result is 0 (tests/unit/attend_test.cpp measures it).
//
// Two shapes of work: `tile_block` for several rows over one gathered block (lanes run over rows,
// so nothing is ever summed across lanes), `row_list` for a single row straight from the strided
// tensors (lanes run over the head dim).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "shadowattn/attention.h"
#include "shadowattn/cpu.h"

namespace shadowattn {

/// Keys per block, at most.
inline constexpr int64_t kAttendBlock = 64;
/// Buffers of gathered keys are readable up to this multiple of keys.
inline constexpr int64_t kAttendKeyPadding = 8;

/// Rows of a strided f32, f16 or q8_0 tensor, all of one head.
struct RowSource {
  const void* data = nullptr;
  ElementType type = ElementType::kF32;
  int64_t stride = 0;  ///< bytes
};

struct AttendBlock {
  const float* query = nullptr;  ///< [dim][rows], scale folded in
  const float* key = nullptr;    ///< [keys][dim], readable up to kAttendKeyPadding
  const float* value = nullptr;  ///< [keys][value_dim]
  const float* bias = nullptr;   ///< [keys][rows] or null
  /// [2][rows]: bit j % 32 of word j / 32 is set when the row sees key j; null: all are seen.
  const uint32_t* visible = nullptr;
  int64_t rows = 0;       ///< multiple of the kernel's row_multiple
  int64_t keys = 0;       ///< 1 … kAttendBlock
  int64_t dim = 0;        ///< multiple of 16
  int64_t value_dim = 0;  ///< multiple of 16
  float logit_softcap = 0.0F;
  bool values_finite = true;  ///< false: `value` may hold NaN or infinity in keys that are hidden
  float* logits = nullptr;    ///< scratch [kAttendBlock][rows]
  float* max = nullptr;       ///< [rows], in and out, as are the next two
  float* sum = nullptr;       ///< [rows]
  float* out = nullptr;       ///< [rows][value_dim]
};

struct AttendRow {
  const float* query = nullptr;  ///< [dim], scale folded in
  RowSource key;
  RowSource value;
  const int32_t* index = nullptr;  ///< [keys] rows of key and value
  const float* bias = nullptr;     ///< [keys] or null
  int64_t keys = 0;                ///< 1 … kAttendBlock
  int64_t dim = 0;                 ///< multiple of 16
  int64_t value_dim = 0;           ///< multiple of 16
  float logit_softcap = 0.0F;
  float* max = nullptr;  ///< one element, in and out, as are the next two
  float* sum = nullptr;
  float* out = nullptr;  ///< [value_dim]
};

struct AttendKernel {
  std::string_view name;
  CpuFeatures needs;
  int64_t row_multiple;  ///< AttendBlock::rows must be a multiple; the caller pads with zero rows
  /// Copies rows index[0 … count-1] (or first … first+count-1 when index is null) to f32
  /// [count][dim] and fills up to the next multiple of kAttendKeyPadding with zeros.
  /// True when all elements are finite.
  bool (*gather)(const RowSource& source, const int32_t* index, int64_t first, int64_t count,
                 int64_t dim, float* out);
  void (*tile_block)(const AttendBlock& block);
  /// out[r] += Σ_j logits[j][r] · value[j], any number of keys; the rest of the block is not read.
  void (*add_output)(const AttendBlock& block);
  void (*row_list)(const AttendRow& row);
  /// y[i] = exp(x[i]) as used inside, for tests; n a multiple of 16.
  void (*exp)(const float* x, int64_t n, float* y);
};

/// Best first; the last runs anywhere.
const std::vector<AttendKernel>& attend_kernels();

}  // namespace shadowattn
