// vpdpbusd multiplies unsigned by signed bytes, four products to a 32-bit sum, without saturation.
// Keys are stored with 128 added, so Σ q·k = Σ q·(k + 128) - 128·Σ q; the correction depends on the
// query row alone and is where the accumulator starts.
//
// Keys:    [block][dim/4][16 keys][4] uint8, so that one 64-byte vector is 16 keys × 4 dims.
// Queries: [row]: int32 correction (in 64 bytes), then dim int8.
#include <immintrin.h>

#include <cstring>

#include "kernels/pilot_dot/pilot_dot.h"

namespace shadowattn {
namespace {

constexpr int kRowsPerStep = 8;  // 8 rows × 2 blocks = 16 accumulators of the 32 registers
constexpr int64_t kQueryHeader = 64;

inline void store_scores(__m512i acc, const float* key_factor, float row_factor, int16_t* out) {
  const __m512 scaled =
      _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), _mm512_loadu_ps(key_factor)),
                    _mm512_set1_ps(row_factor));
  // cvtsepi32_epi16 saturates to [-32768, 32767]; the max keeps -32768 free.
  const __m256i words = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(scaled));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                      _mm256_max_epi16(words, _mm256_set1_epi16(-32767)));
}

inline int32_t load_word(const int8_t* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

template <int kRows, int kBlocks>
void score_rows(const PilotTile& tile, int64_t row, int64_t block) {
  const int64_t dim = tile.dim;
  const int64_t row_bytes = kQueryHeader + dim;
  const int64_t block_bytes = kPilotKeyBlock * dim;
  const auto* q = static_cast<const int8_t*>(tile.queries) + row * row_bytes;
  const auto* k = static_cast<const uint8_t*>(tile.keys) + block * block_bytes;
  __m512i acc[kRows][kBlocks];
  for (int r = 0; r < kRows; ++r) {
    for (int b = 0; b < kBlocks; ++b) acc[r][b] = _mm512_set1_epi32(load_word(q + r * row_bytes));
  }
  q += kQueryHeader;
  for (int64_t d = 0; d < dim; d += 4, k += 64) {
    __m512i keys[kBlocks];
    for (int b = 0; b < kBlocks; ++b) keys[b] = _mm512_loadu_si512(k + b * block_bytes);
    for (int r = 0; r < kRows; ++r) {
      const __m512i word = _mm512_set1_epi32(load_word(q + r * row_bytes + d));
      for (int b = 0; b < kBlocks; ++b) acc[r][b] = _mm512_dpbusd_epi32(acc[r][b], keys[b], word);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int b = 0; b < kBlocks; ++b) {
      const int64_t key = (block + b) * kPilotKeyBlock;
      store_scores(acc[r][b], tile.key_factor + key, tile.row_factor[row + r],
                   tile.scores + (row + r) * tile.stride + key);
    }
  }
}

template <int kBlocks>
void score_blocks(const PilotTile& tile, int64_t block) {
  int64_t row = 0;
  for (; row + kRowsPerStep <= tile.rows; row += kRowsPerStep) {
    score_rows<kRowsPerStep, kBlocks>(tile, row, block);
  }
  for (; row + 2 <= tile.rows; row += 2) score_rows<2, kBlocks>(tile, row, block);
  if (row < tile.rows) score_rows<1, kBlocks>(tile, row, block);
}

}  // namespace

int64_t pilot_key_block_bytes_avx512vnni(int64_t dim) { return kPilotKeyBlock * dim; }

int64_t pilot_query_row_bytes_avx512vnni(int64_t dim) { return kQueryHeader + dim; }

void pilot_pack_keys_avx512vnni(const int8_t* k, int64_t keys, int64_t dim, void* packed) {
  auto* out = static_cast<uint8_t*>(packed);
  for (int64_t first = 0; first < keys; first += kPilotKeyBlock) {
    const int64_t in_block = keys - first < kPilotKeyBlock ? keys - first : kPilotKeyBlock;
    if (in_block < kPilotKeyBlock) std::memset(out, 128, static_cast<size_t>(kPilotKeyBlock * dim));
    for (int64_t j = 0; j < in_block; ++j) {
      const int8_t* row = k + (first + j) * dim;
      for (int64_t d = 0; d < dim; ++d) {
        out[d / 4 * 64 + j * 4 + d % 4] = static_cast<uint8_t>(row[d] + 128);
      }
    }
    out += kPilotKeyBlock * dim;
  }
}

void pilot_pack_queries_avx512vnni(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  auto* out = static_cast<int8_t*>(packed);
  for (int64_t r = 0; r < rows; ++r, q += dim, out += kQueryHeader + dim) {
    int32_t sum = 0;
    for (int64_t d = 0; d < dim; ++d) sum += q[d];
    const int32_t correction = -128 * sum;
    std::memcpy(out, &correction, sizeof correction);
    std::memcpy(out + kQueryHeader, q, static_cast<size_t>(dim));
  }
}

void pilot_scores_avx512vnni(const PilotTile& tile) {
  int64_t block = 0;
  for (; block + 2 <= tile.key_blocks; block += 2) score_blocks<2>(tile, block);
  if (block < tile.key_blocks) score_blocks<1>(tile, block);
}

}  // namespace shadowattn
