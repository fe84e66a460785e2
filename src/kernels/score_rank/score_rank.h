// Kernel family `score_rank`: from a device's INT8 scores of the rows of a token list to one rank
// per key.
//
//   share[j] = Σ_r e2(float(score[r][j]) · slope[r] + offset[r])
//   rank[j]  = upper 16 bits of share[j], an f32                 0 … 0x7F80 (infinity)
//
// with e2, kRankCap and the meaning of share as in pilot_dot.h, computed as
//
//   e2 = bits(int32(clamp(fma(float(score), slope, offset), 0, kRankCap)))      truncated
//
// The fma is rounded once and rows are added in order: every kernel gives the same bits.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "shadowattn/cpu.h"

namespace shadowattn {

/// ScoreRank::keys must be a multiple.
inline constexpr int64_t kScoreRankKeys = 64;

struct ScoreRank {
  const int8_t* scores = nullptr;  ///< [rows][stride], first `keys` read, any alignment
  int64_t stride = 0;              ///< bytes
  int64_t rows = 0;                ///< at least 1
  int64_t keys = 0;                ///< multiple of kScoreRankKeys
  const float* slope = nullptr;    ///< [rows] finite
  const float* offset = nullptr;   ///< [rows] finite
  int16_t* rank = nullptr;         ///< [keys]
  /// The caller knows that no fma leaves [0, kRankCap], as when fma(±128, slope, offset) of no row
  /// does: clamping may be left out.
  bool in_range = false;
};

struct ScoreRankKernel {
  std::string_view name;
  CpuFeatures needs;
  void (*ranks)(const ScoreRank& list);
  /// out[j] = 256 · scores[j], so that one row's scores can be selected from as 16-bit ones. Any
  /// number of keys.
  void (*widen)(const int8_t* scores, int64_t keys, int16_t* out);
};

/// Best first; the last runs anywhere.
const std::vector<ScoreRankKernel>& score_rank_kernels();

}  // namespace shadowattn
