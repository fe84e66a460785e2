// Plain C++; also the definition that the other kernels are compared with.
// Layout: keys and queries as they come, [row][dim] int8; the last key block padded with zeros.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/pilot_dot/requantise.h"

namespace shadowattn {
namespace {

int32_t dot(const int8_t* q, const int8_t* k, int64_t dim) {
  int32_t acc = 0;
  for (int64_t d = 0; d < dim; ++d) acc += q[d] * k[d];
  return acc;
}

}  // namespace

int64_t pilot_key_block_bytes_scalar(int64_t dim) { return kPilotKeyBlock * dim; }

int64_t pilot_query_row_bytes_scalar(int64_t dim) { return dim; }

void pilot_pack_keys_scalar(const int8_t* k, int64_t keys, int64_t dim, void* packed) {
  const int64_t padded = (keys + kPilotKeyBlock - 1) / kPilotKeyBlock * kPilotKeyBlock;
  auto* out = static_cast<int8_t*>(packed);
  std::memcpy(out, k, static_cast<size_t>(keys * dim));
  std::memset(out + keys * dim, 0, static_cast<size_t>((padded - keys) * dim));
}

void pilot_pack_queries_scalar(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  std::memcpy(packed, q, static_cast<size_t>(rows * dim));
}

void pilot_scores_scalar(const PilotTile& tile) {
  const auto* queries = static_cast<const int8_t*>(tile.queries);
  const auto* keys = static_cast<const int8_t*>(tile.keys);
  for (int64_t r = 0; r < tile.rows; ++r) {
    const int8_t* q = queries + r * tile.dim;
    for (int64_t j = 0; j < tile.key_blocks * kPilotKeyBlock; ++j) {
      const int32_t acc = dot(q, keys + j * tile.dim, tile.dim);
      const float scaled = (static_cast<float>(acc) * tile.key_factor[j]) * tile.row_factor[r];
      const float clamped = std::fmin(std::fmax(scaled, -32767.0F), 32767.0F);
      tile.scores[r * tile.stride + j] = static_cast<int16_t>(std::nearbyint(clamped));
    }
  }
}

void pilot_fixed_scores_scalar(const PilotFixed& tile) {
  const auto* queries = static_cast<const int8_t*>(tile.queries);
  const auto* keys = static_cast<const int8_t*>(tile.keys);
  for (int64_t r = 0; r < tile.rows; ++r) {
    for (int64_t j = 0; j < tile.key_blocks * kPilotKeyBlock; ++j) {
      const int32_t acc = dot(queries + r * tile.dim, keys + j * tile.dim, tile.dim);
      tile.scores[r * tile.stride + j] = requantise(acc, tile.requantisation);
    }
  }
}

void pilot_ranks_scalar(const PilotRank& list) {
  const auto* queries = static_cast<const int8_t*>(list.queries);
  const auto* keys = static_cast<const int8_t*>(list.keys);
  for (int64_t j = 0; j < list.key_blocks * kPilotKeyBlock; ++j) {
    float share = 0.0F;
    for (int64_t r = 0; r < list.rows; ++r) {
      const int32_t acc = dot(queries + r * list.dim, keys + j * list.dim, list.dim);
      const float product = static_cast<float>(acc) * list.key_factor[j];
      const float bits = std::fma(product, list.slope[r], list.offset[r]);
      const float clamped = std::min(std::max(bits, 0.0F), kRankCap);
      share += std::bit_cast<float>(static_cast<int32_t>(clamped));
    }
    list.rank[j] = static_cast<int16_t>(std::bit_cast<uint32_t>(share) >> 16);
  }
}

void pilot_pack_queries7_scalar(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  pilot_pack_queries_scalar(q, rows, dim, packed);
}

void pilot_shares_scalar(const PilotShares& list) {
  const auto* queries = static_cast<const int8_t*>(list.queries);
  const auto* keys = static_cast<const int8_t*>(list.keys);
  for (int64_t r = 0; r < list.rows; ++r) {
    for (int64_t j = 0; j < list.key_blocks * kPilotKeyBlock; ++j) {
      const int32_t acc = dot(queries + r * list.dim, keys + j * list.dim, list.dim);
      const float product = static_cast<float>(acc) * list.key_factor[j];
      const float bits = std::nearbyint(std::fma(product, list.slope[r], list.offset[r]));
      const auto half =
          static_cast<uint32_t>(std::min(std::max(bits, 0.0F), static_cast<float>(kShareCap)));
      list.half[r * list.stride + j] = static_cast<uint16_t>(half);
      list.total[r * kShareLanes + j % kShareLanes] += std::bit_cast<float>(half << 16);
    }
  }
}

}  // namespace shadowattn
