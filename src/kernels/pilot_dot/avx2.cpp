// AVX2 has no INT8 dot product with a 32-bit sum: its maddubs saturates at 16 bits. vpmaddwd on
// operands widened to int16 is exact, needs as many multiplications as the usual sign trick, and
// no other instruction per product.
//
// Keys:    [block][dim/2][16 keys][2] int16, so that one 32-byte vector is 8 keys × 2 dims.
// Queries: [row][dim] int16; two dims at a time are broadcast as one 32-bit word.
#include <immintrin.h>

#include <cstring>

#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/simd/unroll.h"

namespace shadowattn {
namespace {

constexpr int kRowsPerStep = 4;  // 4 rows × 2 vectors; with 6 the compiler spills accumulators

/// Sixteen scores of one row from their INT32 sums.
inline void store_scores(__m256i low, __m256i high, const float* key_factor, float row_factor,
                         int16_t* out) {
  const __m256 row = _mm256_set1_ps(row_factor);
  const __m256 a =
      _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(low), _mm256_loadu_ps(key_factor)), row);
  const __m256 b =
      _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(high), _mm256_loadu_ps(key_factor + 8)), row);
  // packs saturates to [-32768, 32767] per 128-bit half; the max keeps -32768 free.
  const __m256i words = _mm256_permute4x64_epi64(
      _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b)), 0xD8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                      _mm256_max_epi16(words, _mm256_set1_epi16(-32767)));
}

inline __m256i broadcast_pair(const int16_t* p) {
  int32_t pair;
  std::memcpy(&pair, p, sizeof pair);
  return _mm256_set1_epi32(pair);
}

/// The INT32 sums of kRows query rows (from `q` on) and the sixteen keys of a block.
template <int kRows>
[[gnu::always_inline]] inline void dot_rows(const int16_t* q, const int16_t* k, int64_t dim,
                                            __m256i (&low)[kRows], __m256i (&high)[kRows]) {
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    low[r] = high[r] = _mm256_setzero_si256();
  });
  for (int64_t d = 0; d < dim; d += 2, k += 32) {
    const __m256i k_low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(k));
    const __m256i k_high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(k + 16));
    unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
      const __m256i pair = broadcast_pair(q + r * dim + d);
      low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(pair, k_low));
      high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(pair, k_high));
    });
  }
}

template <int kRows>
void score_rows(const PilotTile& tile, int64_t row, int64_t block) {
  __m256i low[kRows];
  __m256i high[kRows];
  dot_rows<kRows>(static_cast<const int16_t*>(tile.queries) + row * tile.dim,
                  static_cast<const int16_t*>(tile.keys) + block * kPilotKeyBlock * tile.dim,
                  tile.dim, low, high);
  const int64_t key = block * kPilotKeyBlock;
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    store_scores(low[r], high[r], tile.key_factor + key, tile.row_factor[row + r],
                 tile.scores + (row + r) * tile.stride + key);
  });
}

struct Rounding {
  __m256i half;      ///< 2^shift / 2
  __m128i shift;     ///< one count for all lanes
  __m256i mantissa;  ///< 16-bit lanes
};

inline Rounding rounding(Requantisation r) {
  return {_mm256_set1_epi32((1 << r.shift) / 2), _mm_cvtsi32_si128(r.shift),
          _mm256_set1_epi16(static_cast<int16_t>(r.mantissa))};
}

/// Sixteen INT8 scores of one row from their INT32 sums.
inline void store_fixed(__m256i low, __m256i high, const Rounding& rounding, int8_t* out) {
  low = _mm256_sra_epi32(_mm256_add_epi32(low, rounding.half), rounding.shift);
  high = _mm256_sra_epi32(_mm256_add_epi32(high, rounding.half), rounding.shift);
  const __m256i words = _mm256_mulhrs_epi16(
      _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8), rounding.mantissa);
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  // packs saturates to [-128, 127].
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_max_epi8(bytes, _mm_set1_epi8(-127)));
}

template <int kRows>
void fixed_rows(const PilotFixed& tile, const Rounding& rounding, int64_t row, int64_t block) {
  __m256i low[kRows];
  __m256i high[kRows];
  dot_rows<kRows>(static_cast<const int16_t*>(tile.queries) + row * tile.dim,
                  static_cast<const int16_t*>(tile.keys) + block * kPilotKeyBlock * tile.dim,
                  tile.dim, low, high);
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    store_fixed(low[r], high[r], rounding,
                tile.scores + (row + r) * tile.stride + block * kPilotKeyBlock);
  });
}

/// Eight keys' shares of one row.
inline __m256 shares(__m256i acc, __m256 key_factor, __m256 slope, __m256 offset) {
  const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), key_factor);
  const __m256 bits = _mm256_fmadd_ps(product, slope, offset);
  const __m256 clamped =
      _mm256_min_ps(_mm256_max_ps(bits, _mm256_setzero_ps()), _mm256_set1_ps(kRankCap));
  return _mm256_castsi256_ps(_mm256_cvttps_epi32(clamped));
}

/// Adds the shares of kRows rows to those of the sixteen keys of a block.
template <int kRows>
void add_shares(const PilotRank& list, int64_t row, int64_t block, __m256& low_share,
                __m256& high_share) {
  __m256i low[kRows];
  __m256i high[kRows];
  dot_rows<kRows>(static_cast<const int16_t*>(list.queries) + row * list.dim,
                  static_cast<const int16_t*>(list.keys) + block * kPilotKeyBlock * list.dim,
                  list.dim, low, high);
  const __m256 low_factor = _mm256_loadu_ps(list.key_factor + block * kPilotKeyBlock);
  const __m256 high_factor = _mm256_loadu_ps(list.key_factor + block * kPilotKeyBlock + 8);
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    const __m256 slope = _mm256_set1_ps(list.slope[row + r]);
    const __m256 offset = _mm256_set1_ps(list.offset[row + r]);
    low_share = _mm256_add_ps(low_share, shares(low[r], low_factor, slope, offset));
    high_share = _mm256_add_ps(high_share, shares(high[r], high_factor, slope, offset));
  });
}

}  // namespace

int64_t pilot_key_block_bytes_avx2(int64_t dim) { return kPilotKeyBlock * dim * 2; }

int64_t pilot_query_row_bytes_avx2(int64_t dim) { return dim * 2; }

void pilot_pack_keys_avx2(const int8_t* k, int64_t keys, int64_t dim, void* packed) {
  auto* out = static_cast<int16_t*>(packed);
  for (int64_t first = 0; first < keys; first += kPilotKeyBlock) {
    const int64_t in_block = keys - first < kPilotKeyBlock ? keys - first : kPilotKeyBlock;
    if (in_block < kPilotKeyBlock) std::memset(out, 0, static_cast<size_t>(dim) * 32);
    for (int64_t j = 0; j < in_block; ++j) {
      const int8_t* row = k + (first + j) * dim;
      for (int64_t d = 0; d < dim; d += 2) {
        out[d * 16 + j * 2] = row[d];
        out[d * 16 + j * 2 + 1] = row[d + 1];
      }
    }
    out += kPilotKeyBlock * dim;
  }
}

void pilot_pack_queries_avx2(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  auto* out = static_cast<int16_t*>(packed);
  for (int64_t i = 0; i < rows * dim; ++i) out[i] = q[i];
}

void pilot_scores_avx2(const PilotTile& tile) {
  // Keys outside: one block of keys (2 to 8 kB) stays in the first-level cache for all rows.
  for (int64_t block = 0; block < tile.key_blocks; ++block) {
    int64_t row = 0;
    for (; row + kRowsPerStep <= tile.rows; row += kRowsPerStep) {
      score_rows<kRowsPerStep>(tile, row, block);
    }
    switch (tile.rows - row) {
      case 3:
        score_rows<3>(tile, row, block);
        break;
      case 2:
        score_rows<2>(tile, row, block);
        break;
      case 1:
        score_rows<1>(tile, row, block);
        break;
      default:
        break;
    }
  }
}

void pilot_fixed_scores_avx2(const PilotFixed& tile) {
  const Rounding round = rounding(tile.requantisation);
  for (int64_t block = 0; block < tile.key_blocks; ++block) {
    int64_t row = 0;
    for (; row + kRowsPerStep <= tile.rows; row += kRowsPerStep) {
      fixed_rows<kRowsPerStep>(tile, round, row, block);
    }
    for (; row < tile.rows; ++row) fixed_rows<1>(tile, round, row, block);
  }
}

void pilot_ranks_avx2(const PilotRank& list) {
  for (int64_t block = 0; block < list.key_blocks; ++block) {
    __m256 low = _mm256_setzero_ps();
    __m256 high = _mm256_setzero_ps();
    int64_t row = 0;
    for (; row + kRowsPerStep <= list.rows; row += kRowsPerStep) {
      add_shares<kRowsPerStep>(list, row, block, low, high);
    }
    for (; row < list.rows; ++row) add_shares<1>(list, row, block, low, high);
    const __m256i words = _mm256_packus_epi32(_mm256_srli_epi32(_mm256_castps_si256(low), 16),
                                              _mm256_srli_epi32(_mm256_castps_si256(high), 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(list.rank + block * kPilotKeyBlock),
                        _mm256_permute4x64_epi64(words, 0xD8));
  }
}

}  // namespace shadowattn
