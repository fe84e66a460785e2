// Kernel family `pilot_dot`: INT8 Q·Kᵀ of one tile, as 16-bit fixed-point scores.
//
//   acc[r][j]   = Σ_d q[r][d] · k[j][d]                          exact INT32, |acc| ≤ 256 · 127²
//   score[r][j] = round_to_nearest_even((float(acc) · key_factor[j]) · row_factor[r])
//
// clamped to [-32767, 32767]; -32768 is kept free for "hidden" (kHiddenScore, select.h). The caller
// chooses the factors so that scores fit (products of 2^31 and more are outside the contract).
// float(acc) is exact (below 2^24) and the two products are rounded in this order, so every kernel
// gives the same bits.
//
// Operands are packed once and reused: keys per call, queries per tile. Each kernel has its own
// packed layout. Keys come in blocks of kPilotKeyBlock; pack_keys pads the last one with zero
// keys, and `scores` writes whole blocks.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "shadowattn/cpu.h"

namespace shadowattn {

inline constexpr int64_t kPilotKeyBlock = 16;

struct PilotTile {
  const void* queries = nullptr;      ///< packed by pack_queries
  int64_t rows = 0;                   ///< query rows, any number
  const void* keys = nullptr;         ///< packed; first block of the run
  int64_t key_blocks = 0;             ///< blocks of kPilotKeyBlock keys
  int64_t dim = 0;                    ///< multiple of 16, at most 256
  const float* key_factor = nullptr;  ///< [key_blocks · kPilotKeyBlock]
  const float* row_factor = nullptr;  ///< [rows]
  int16_t* scores = nullptr;  ///< [rows][stride], first key_blocks · kPilotKeyBlock written
  int64_t stride = 0;         ///< elements
};

struct PilotDotKernel {
  std::string_view name;
  CpuFeatures needs;

  /// Bytes per block of packed keys, per packed query row; dim as above.
  int64_t (*key_block_bytes)(int64_t dim);
  int64_t (*query_row_bytes)(int64_t dim);
  /// k: dense [keys][dim], values in [-127, 127]. packed: ceil(keys / kPilotKeyBlock) blocks.
  void (*pack_keys)(const int8_t* k, int64_t keys, int64_t dim, void* packed);
  /// q: dense [rows][dim], values in [-127, 127]. packed: rows · query_row_bytes.
  void (*pack_queries)(const int8_t* q, int64_t rows, int64_t dim, void* packed);
  void (*scores)(const PilotTile& tile);
};

/// Best first; the last runs anywhere.
const std::vector<PilotDotKernel>& pilot_dot_kernels();

}  // namespace shadowattn
