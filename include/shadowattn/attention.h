// The operands of one attention call: views of memory that the caller owns.
//
// Shapes: H query heads, H_kv KV heads (H a multiple of H_kv; query head h reads KV head
// h / (H / H_kv)), n_q query rows, n_kv keys, D head dim of queries and keys, D_v of values.
#pragma once

#include <cstdint>

namespace shadowattn {

enum class ElementType {
  kF32,
  kF16,  ///< IEEE 754 binary16
  // NOLINTNEXTLINE(readability-identifier-naming): the format's own name
  kQ8_0,  ///< ggml's block format; keys and values only
};

/// A q8_0 row is dim / 32 blocks of 34 bytes without gaps: a binary16 scale d, then 32 signed bytes
/// q; element = d · q (exact in f32). So dim must be a multiple of 32 and rows lie at even
/// addresses.
inline constexpr int64_t kQ8BlockElements = 32;
inline constexpr int64_t kQ8BlockBytes = 34;

/// Read-only view of a [heads, rows, dim] tensor. Elements (or blocks) of one row are adjacent;
/// rows and heads may lie anywhere (strides in bytes, may be negative or overlap). No alignment
/// beyond the element's own is needed: 4 bytes for f32, 2 for f16 and q8_0.
struct TensorView {
  const void* data = nullptr;
  ElementType type = ElementType::kF32;
  int64_t heads = 0;
  int64_t rows = 0;
  int64_t dim = 0;
  int64_t head_stride = 0;  ///< bytes from one head to the next
  int64_t row_stride = 0;   ///< bytes from one row to the next

  const void* row(int64_t head, int64_t index) const {
    return static_cast<const char*>(data) + head * head_stride + index * row_stride;
  }
};

/// Writable f32 [heads, rows, dim]; must not overlap any input.
struct OutputView {
  float* data = nullptr;
  int64_t heads = 0;
  int64_t rows = 0;
  int64_t dim = 0;
  int64_t head_stride = 0;  ///< bytes
  int64_t row_stride = 0;   ///< bytes

  float* row(int64_t head, int64_t index) const {
    return reinterpret_cast<float*>(reinterpret_cast<char*>(data) + head * head_stride +
                                    index * row_stride);
  }
};

/// Which keys a query row may see.
enum class MaskKind {
  kNone,      ///< every row sees every key
  kCausal,    ///< row i sees keys 0 … i + causal_offset
  kAdditive,  ///< a matrix is added to the logits; -inf hides a key
};

struct Mask {
  MaskKind kind = MaskKind::kNone;

  /// kCausal: keys that come before row 0's own token (the prefix already in the cache).
  int64_t causal_offset = 0;

  /// kAdditive: [heads, n_q, n_kv], key stride 1 element. Query head h uses head h % heads.
  TensorView additive;
  /// kAdditive, optional: [H] factors on the finite entries (ALiBi slopes); null means 1.
  const float* slopes = nullptr;

  /// kAdditive, optional: calls of one engine whose masks have the same id, not 0, have masks of
  /// the same content at the same place (the layers of a model in one batch), which the engine then
  /// reads once.
  uint64_t id = 0;
};

/// One attention call: out = softmax(cap(scale · Q·Kᵀ) + mask) · V, row by row.
/// cap(x) = logit_softcap · tanh(x / logit_softcap), or x when logit_softcap is 0.
struct AttentionCall {
  TensorView query;   ///< [H, n_q, D], f32
  TensorView key;     ///< [H_kv, n_kv, D], f32, f16 or q8_0
  TensorView value;   ///< [H_kv, n_kv, D_v], f32, f16 or q8_0, whatever the keys are
  OutputView output;  ///< [H, n_q, D_v]; a row that sees no key becomes zero
  Mask mask;
  float scale = 1.0F;
  float logit_softcap = 0.0F;
  /// Optional [H]: one more logit per head that takes softmax mass but has no value (gpt-oss).
  const float* sink_logits = nullptr;
  /// Layer of the model, for the engine's profile and for what it learns from one call for the
  /// next; -1: unknown, and the call is taken by itself.
  int32_t layer = -1;
};

}  // namespace shadowattn
