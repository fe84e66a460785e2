// Queries and keys of one KV head as plain f32 arrays, and changes to them that leave what softmax
// makes of them as it was: rotation, equalising, subtracting the keys' mean, and channels made
// large on purpose.
//
// Pure functions of their arguments; any thread. Throw std::bad_alloc.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/list_rows.h"
#include "plan/visibility.h"
#include "shadowattn/attention.h"

namespace shadowattn::bench {

struct HeadOperands {
  int64_t dim = 0;
  int64_t keys = 0;
  int64_t heads = 0;           ///< query heads that read the KV head
  int64_t rows = 0;            ///< query rows of each
  std::vector<float> key;      ///< [keys][dim]
  std::vector<float> query;    ///< [heads][rows][dim]
  std::vector<KeyRange> seen;  ///< [rows] keys that a row sees; never empty
  double scale = 1;            ///< logit = scale · q·k

  std::span<const float> query_row(int64_t head, int64_t row) const {
    return {query.data() + (head * rows + row) * dim, static_cast<size_t>(dim)};
  }
};

/// Copies the keys that some row sees and the queries. Throws tool::Failure when a row's mask is
/// not plain, heads differ in it, or logits are capped.
HeadOperands load_operands(const AttentionCall& call, const Visibility& visibility,
                           int64_t kv_head);

/// What is done to recorded operands.
enum class OperandCase {
  kRecorded,
  kLargeChannels,  ///< a few channels of the keys × 30, of the queries / 30
  kKeyBias,        ///< one constant vector added to all keys, large in a few channels
  kBoth,
};

/// By how much: channels are multiplied by it; a bias is so many times the keys' root mean square.
inline constexpr float kOutlierFactor = 30.0F;

/// Channels that become large: three, of which no two share a group of 16.
std::vector<int64_t> outlier_channels(int64_t dim);

/// Changes no softmax: logits stay as they are, or all logits of a row move by the same amount.
void apply_case(OperandCase which, HeadOperands* operands);

/// Subtracts the mean key from all keys: moves all logits of a row by the same amount.
void subtract_mean(int64_t dim, std::span<float> keys);

/// Rows of `dim` elements times an orthogonal matrix: Hadamard of the largest power of two that
/// divides dim, divided by its square root, block by block. Logits stay as they are when both
/// queries and keys are rotated.
void rotate(int64_t dim, std::span<float> rows);

/// Multiplies channel c of the queries by s and divides that of the keys by it, s = sqrt(largest
/// key / largest query of the channel), so that both have the same largest magnitude in it. Logits
/// stay as they are. A channel that is zero in either is left alone.
void equalise(int64_t dim, std::span<float> queries, std::span<float> keys);

}  // namespace shadowattn::bench
