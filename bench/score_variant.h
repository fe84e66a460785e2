// Estimates of Q·Kᵀ by precision, scales and what is done to the operands before: plain
// computations, independent of the engine's kernels.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "head_operands.h"

namespace shadowattn::bench {

/// What shares a scale.
enum class ScaleScope {
  kTensor,  ///< all rows of the head
  kBlock,   ///< kScaleBlock rows
  kRow,
};
inline constexpr int64_t kScaleBlock = 64;

/// What is left of a sum of INT8 products.
enum class ScoreFormat {
  kFloat,  ///< no INT8 at all: f32 operands and sums
  kInt32,
  kInt16,  ///< one multiplier per KV head, as kInt8, 258 times as fine
  kInt8,   ///< one multiplier per KV head, by the engine's rule for devices
};

struct ScoreVariant {
  ScoreFormat format = ScoreFormat::kFloat;
  ScaleScope key_scales = ScaleScope::kRow;
  ScaleScope query_scales = ScaleScope::kRow;  ///< kTensor or kRow
  bool center_keys = false;
  bool rotate = false;
  bool equalise = false;  ///< after centring, before rotation

  std::string name() const;  ///< "INT32, a scale per key, per query row, centred"
};

/// x ≈ scale[row] · q, q a whole number in [-127, 127].
struct QuantisedRows {
  std::vector<float> q;      ///< [rows][dim]
  std::vector<float> scale;  ///< [rows]; 0 where all is 0
};

/// scale = largest magnitude of those that share it / 127, q to nearest. `x`: [rows][dim], finite.
QuantisedRows quantise_rows(std::span<const float> x, int64_t dim, ScaleScope scope);

/// Estimated logits of one KV head by one variant. Reads nothing of `operands` after construction.
class VariantScores {
 public:
  /// Throws std::bad_alloc.
  VariantScores(const HeadOperands& operands, const ScoreVariant& variant);

  /// logits: [operands.keys], of all keys whether the row sees them or not.
  void estimate(int64_t head, int64_t row, std::span<float> logits) const;

 private:
  void quantise(std::span<const float> keys);
  /// The sums of a row with the factors of keys, out[j] = Σ_d q[d] · k[j][d] · key_factor[j].
  void sums(int64_t head, int64_t row, std::span<float> out) const;
  void choose_multiplier();

  int64_t dim_;
  int64_t keys_;
  int64_t heads_;
  int64_t rows_;
  double logit_scale_;
  ScoreVariant variant_;
  std::vector<float> query_;        // [heads][rows][dim] whole numbers but for kFloat
  std::vector<float> query_scale_;  // [heads][rows]
  std::vector<float> key_;          // [dim][keys]
  std::vector<float> key_factor_;   // [keys] scale / largest scale
  double key_scale_ = 1;            // largest
  double multiplier_ = 0;           // from sums to kInt16, kInt8
};

}  // namespace shadowattn::bench
