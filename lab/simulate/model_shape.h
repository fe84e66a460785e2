// The shape of a model: all that the time of its prefill depends on.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace shadowattn::tool::simulate {

/// A decoder whose FFN has three matrices (gate, up, down), as all models here do.
struct ModelShape {
  std::string name;
  int64_t layers = 0;
  int64_t hidden = 0;  ///< width of the residual stream
  int64_t heads = 0;   ///< query heads, a multiple of kv_heads
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t ffn = 0;    ///< width inside the FFN
  int64_t vocab = 0;  ///< tokens; 0: the output layer is left out

  /// Query heads that read one KV head.
  int64_t group_heads() const { return heads / kv_heads; }
  /// Weights of one layer's matrices.
  int64_t layer_parameters() const;
  /// Of all layers and the token embedding, which is counted once.
  int64_t parameters() const;
  /// All but the name are equal.
  bool same_shape(const ModelShape& other) const;
};

/// Shapes of published models, by their public configurations.
std::span<const ModelShape> known_shapes();

/// The shape with that name, or one written as HEADS/KV_HEADS/DIM/LAYERS/HIDDEN/FFN with an
/// optional /VOCAB. Throws Failure (usage) for anything else.
ModelShape parse_shape(const std::string& text);

/// Throws Failure (usage), with `origin` in front, when the shape makes no sense or is too large to
/// compute with.
void check_shape(const ModelShape& shape, const std::string& origin);

}  // namespace shadowattn::tool::simulate
