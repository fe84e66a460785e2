// Kernel family `pilot_dot`: INT8 Q·Kᵀ of one tile, as 16-bit fixed-point scores, as INT8 scores by
// a multiplier fixed beforehand, or as one rank per key for all rows of a token list.
//
//   acc[r][j]   = Σ_d q[r][d] · k[j][d]                          exact INT32, |acc| ≤ 256 · 127²
//   score[r][j] = round_to_nearest_even((float(acc) · key_factor[j]) · row_factor[r])
//
// clamped to [-32767, 32767]; -32768 is kept free for "hidden" (kHiddenScore, select.h). The caller
// chooses the factors so that scores fit (products of 2^31 and more are outside the contract).
//
//   fixed[r][j] = requantise(acc[r][j], requantisation)          INT8, see shadowattn/device.h
//
//   share[j] = Σ_r e2((float(acc[r][j]) · key_factor[j]) · slope[r] + offset[r])
//   rank[j]  = upper 16 bits of share[j], an f32                 0 … 0x7F80 (infinity)
//
// e2(x) = (1 + frac(x)) · 2^floor(x) is 2^x with straight lines between the powers of two (at most
// 6.2 % too large). With x = log2 of the softmax share that row r gives key j, share[j] is the mass
// that the rows of a list lose together without that key. The bits of a float are its logarithm, so
// rows are given as slope = 2^23 · (…) and offset = 2^23 · (127 + …), and
//
//   e2 = bits(int32(clamp(fma(float(acc) · key_factor, slope, offset), 0, kRankCap)))   truncated
//
//   half[r][j]  = min(saturate(round_to_nearest_even(fma(float(acc) · key_factor[j], slope[r],
//                 offset[r]))), kShareCap)         upper 16 bits of e2 of row r and key j alone
//   total[r]   += Σ_j half[r][j] as upper halves of floats, in the lanes and the order of the
//   kernel
//
// with slope = 2^7 · (…) and offset = 2^7 · (127 + …); saturate is to [0, 65535]. The shares of
// single rows are of queries and keys of seven bits, [-63, 63]: then four products of an unsigned
// and a signed byte fit 16 bits, which makes them twice as fast on AVX2 and costs nothing that
// counts (SPEED.md).
//
// Scores of ranks never leave the registers. float(acc) is exact (below 2^24), the product is
// rounded, the fma rounded once, rows are added in order: every kernel gives the same bits.
//
// Operands are packed once and reused: keys per call, queries per tile. Each kernel has its own
// packed layout. Keys come in blocks of kPilotKeyBlock; pack_keys pads the last one with zero
// keys, and scores are written in whole blocks.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "shadowattn/cpu.h"
#include "shadowattn/device.h"

namespace shadowattn {

inline constexpr int64_t kPilotKeyBlock = 16;

struct PilotTile {
  const void* queries = nullptr;      ///< packed by pack_queries
  int64_t rows = 0;                   ///< query rows, any number: all that were packed together
  const void* keys = nullptr;         ///< packed; first block of the run
  int64_t key_blocks = 0;             ///< blocks of kPilotKeyBlock keys
  int64_t dim = 0;                    ///< multiple of 16, at most 256
  const float* key_factor = nullptr;  ///< [key_blocks · kPilotKeyBlock]
  const float* row_factor = nullptr;  ///< [rows]
  int16_t* scores = nullptr;  ///< [rows][stride], first key_blocks · kPilotKeyBlock written
  int64_t stride = 0;         ///< elements
};

struct PilotFixed {
  const void* queries = nullptr;  ///< as in PilotTile, as are the next four
  int64_t rows = 0;
  const void* keys = nullptr;
  int64_t key_blocks = 0;
  int64_t dim = 0;
  Requantisation requantisation;  ///< valid
  int8_t* scores = nullptr;       ///< [rows][stride], first key_blocks · kPilotKeyBlock written
  int64_t stride = 0;             ///< bytes
};

/// Lanes of PilotShares::total.
inline constexpr int64_t kShareLanes = 16;

struct PilotShares {
  const void* queries = nullptr;  ///< packed by pack_queries7
  int64_t rows = 0;               ///< as in PilotTile, as are the next four; keys in [-63, 63]
  const void* keys = nullptr;
  int64_t key_blocks = 0;
  int64_t dim = 0;
  const float* key_factor = nullptr;
  const float* slope = nullptr;   ///< [rows], as the next: |acc · slope + offset| below 2^31
  const float* offset = nullptr;  ///< [rows]
  uint16_t* half = nullptr;       ///< [rows][stride], first key_blocks · kPilotKeyBlock written
  int64_t stride = 0;             ///< elements
  float* total = nullptr;         ///< [rows][kShareLanes] in and out, to be added up at the end
};

/// Largest f32 whose bits are a share: 2^120, so that sums stay ordered (they may reach infinity).
inline constexpr float kRankCap = 247.0F * 0x1p23F;
/// Its upper half.
inline constexpr int32_t kShareCap = 247 << 7;

struct PilotRank {
  const void* queries = nullptr;  ///< as in PilotTile, as are the next five
  int64_t rows = 0;
  const void* keys = nullptr;
  int64_t key_blocks = 0;
  int64_t dim = 0;
  const float* key_factor = nullptr;
  const float* slope = nullptr;   ///< [rows] finite
  const float* offset = nullptr;  ///< [rows] finite
  int16_t* rank = nullptr;        ///< [key_blocks · kPilotKeyBlock]
  /// The caller knows that no sum leaves [0, kRankCap]: clamping may be left out.
  bool in_range = false;
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
  /// The same for `shares`, of values in [-63, 63].
  void (*pack_queries7)(const int8_t* q, int64_t rows, int64_t dim, void* packed);
  void (*scores)(const PilotTile& tile);
  void (*fixed_scores)(const PilotFixed& tile);
  void (*ranks)(const PilotRank& list);
  void (*shares)(const PilotShares& list);
};

/// Best first; the last runs anywhere.
const std::vector<PilotDotKernel>& pilot_dot_kernels();

}  // namespace shadowattn
