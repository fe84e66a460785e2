// What the kernels of 32-byte vectors share: the walk over a tile, and what becomes of sums. They
// differ in packed layouts and in the instructions between, which `Dots` has:
//
//   Dots::block_bytes(dim), Dots::row_bytes(dim)     packed keys, packed query rows
//   Dots::sums<kRows>(q, k, dim, low, high)          the INT32 sums of kRows rows and the sixteen
//                                                    keys of a block, eight in low[r] and in
//                                                    high[r]
//   Dots::sums7<kRows>(…)                            the same of pack_queries7 and keys of 7 bits
//
// AVX2 and FMA only, always inlined or a template of a type of one file: files with other flags
// include this.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/simd/unroll.h"

namespace shadowattn::avx2_tile {

/// 4 rows × 2 vectors; with 6 the compiler spills accumulators.
inline constexpr int kRowsPerStep = 4;

/// Sixteen scores of one row from their INT32 sums.
[[gnu::always_inline]] inline void store_scores(__m256i low, __m256i high, const float* key_factor,
                                                float row_factor, int16_t* out) {
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

[[gnu::always_inline]] inline __m256i broadcast_word(const uint8_t* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof word);
  return _mm256_set1_epi32(word);
}

[[gnu::always_inline]] inline __m256i load_keys(const uint8_t* k) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(k));
}

struct Rounding {
  __m256i half;      ///< 2^shift / 2
  __m128i shift;     ///< one count for all lanes
  __m256i mantissa;  ///< 16-bit lanes
};

[[gnu::always_inline]] inline Rounding rounding(Requantisation r) {
  return {_mm256_set1_epi32((1 << r.shift) / 2), _mm_cvtsi32_si128(r.shift),
          _mm256_set1_epi16(static_cast<int16_t>(r.mantissa))};
}

/// Sixteen INT8 scores of one row from their INT32 sums.
[[gnu::always_inline]] inline void store_fixed(__m256i low, __m256i high, const Rounding& rounding,
                                               int8_t* out) {
  low = _mm256_sra_epi32(_mm256_add_epi32(low, rounding.half), rounding.shift);
  high = _mm256_sra_epi32(_mm256_add_epi32(high, rounding.half), rounding.shift);
  const __m256i words = _mm256_mulhrs_epi16(
      _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8), rounding.mantissa);
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  // packs saturates to [-128, 127].
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_max_epi8(bytes, _mm_set1_epi8(-127)));
}

/// Eight keys' shares of one row.
[[gnu::always_inline]] inline __m256 shares(__m256i acc, __m256 key_factor, __m256 slope,
                                            __m256 offset) {
  const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), key_factor);
  const __m256 bits = _mm256_fmadd_ps(product, slope, offset);
  const __m256 clamped =
      _mm256_min_ps(_mm256_max_ps(bits, _mm256_setzero_ps()), _mm256_set1_ps(kRankCap));
  return _mm256_castsi256_ps(_mm256_cvttps_epi32(clamped));
}

/// The upper halves of eight keys' shares of one row, not yet capped.
[[gnu::always_inline]] inline __m256i share_halves(__m256i acc, __m256 key_factor, __m256 slope,
                                                   __m256 offset) {
  const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), key_factor);
  return _mm256_cvtps_epi32(_mm256_fmadd_ps(product, slope, offset));
}

/// A tile's operands by row and block.
template <typename Dots, typename Tile>
[[gnu::always_inline]] inline const uint8_t* row_at(const Tile& tile, int64_t row) {
  return static_cast<const uint8_t*>(tile.queries) + row * Dots::row_bytes(tile.dim);
}
template <typename Dots, typename Tile>
[[gnu::always_inline]] inline const uint8_t* block_at(const Tile& tile, int64_t block) {
  return static_cast<const uint8_t*>(tile.keys) + block * Dots::block_bytes(tile.dim);
}

template <typename Dots, int kRows>
void score_rows(const PilotTile& tile, int64_t row, int64_t block) {
  __m256i low[kRows];
  __m256i high[kRows];
  Dots::template sums<kRows>(row_at<Dots>(tile, row), block_at<Dots>(tile, block), tile.dim, low,
                             high);
  const int64_t key = block * kPilotKeyBlock;
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    store_scores(low[r], high[r], tile.key_factor + key, tile.row_factor[row + r],
                 tile.scores + (row + r) * tile.stride + key);
  });
}

template <typename Dots, int kRows>
void fixed_rows(const PilotFixed& tile, const Rounding& rounding, int64_t row, int64_t block) {
  __m256i low[kRows];
  __m256i high[kRows];
  Dots::template sums<kRows>(row_at<Dots>(tile, row), block_at<Dots>(tile, block), tile.dim, low,
                             high);
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    store_fixed(low[r], high[r], rounding,
                tile.scores + (row + r) * tile.stride + block * kPilotKeyBlock);
  });
}

/// Adds the shares of kRows rows to those of the sixteen keys of a block.
template <typename Dots, int kRows>
[[gnu::always_inline]] inline void add_shares(const PilotRank& list, int64_t row, int64_t block,
                                              __m256& low_share, __m256& high_share) {
  __m256i low[kRows];
  __m256i high[kRows];
  Dots::template sums<kRows>(row_at<Dots>(list, row), block_at<Dots>(list, block), list.dim, low,
                             high);
  const __m256 low_factor = _mm256_loadu_ps(list.key_factor + block * kPilotKeyBlock);
  const __m256 high_factor = _mm256_loadu_ps(list.key_factor + block * kPilotKeyBlock + 8);
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    const __m256 slope = _mm256_set1_ps(list.slope[row + r]);
    const __m256 offset = _mm256_set1_ps(list.offset[row + r]);
    low_share = _mm256_add_ps(low_share, shares(low[r], low_factor, slope, offset));
    high_share = _mm256_add_ps(high_share, shares(high[r], high_factor, slope, offset));
  });
}

/// The upper halves of the shares of kRows rows and the sixteen keys of a block.
template <typename Dots, int kRows>
void share_rows(const PilotShares& list, int64_t row, int64_t block) {
  __m256i low[kRows];
  __m256i high[kRows];
  Dots::template sums7<kRows>(row_at<Dots>(list, row), block_at<Dots>(list, block), list.dim, low,
                              high);
  const int64_t key = block * kPilotKeyBlock;
  const __m256 low_factor = _mm256_loadu_ps(list.key_factor + key);
  const __m256 high_factor = _mm256_loadu_ps(list.key_factor + key + 8);
  const __m256i zero = _mm256_setzero_si256();
  const __m256i cap = _mm256_set1_epi16(static_cast<int16_t>(kShareCap));
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    const __m256 slope = _mm256_set1_ps(list.slope[row + r]);
    const __m256 offset = _mm256_set1_ps(list.offset[row + r]);
    const __m256i words =
        _mm256_min_epu16(_mm256_packus_epi32(share_halves(low[r], low_factor, slope, offset),
                                             share_halves(high[r], high_factor, slope, offset)),
                         cap);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(list.half + (row + r) * list.stride + key),
                        _mm256_permute4x64_epi64(words, 0xD8));
    float* total = list.total + (row + r) * kShareLanes;
    const __m256 sum = _mm256_add_ps(_mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, words)),
                                     _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, words)));
    _mm256_storeu_ps(total, _mm256_add_ps(_mm256_loadu_ps(total), sum));
  });
}

/// step(rows as a constant, first row) over `rows` rows. Keys outside: one block of keys (1 to 4
/// kB) stays in the first-level cache for all rows.
template <typename Step>
[[gnu::always_inline]] inline void for_steps(int64_t rows, Step&& step) {
  int64_t row = 0;
  for (; row + kRowsPerStep <= rows; row += kRowsPerStep) {
    step(std::integral_constant<int, kRowsPerStep>(), row);
  }
  const int64_t left = rows - row;
  if (left == 3) step(std::integral_constant<int, 3>(), row);
  if (left == 2) step(std::integral_constant<int, 2>(), row);
  if (left == 1) step(std::integral_constant<int, 1>(), row);
}

template <typename Dots>
void scores(const PilotTile& tile) {
  for (int64_t block = 0; block < tile.key_blocks; ++block) {
    for_steps(
        tile.rows, [&](auto rows, int64_t row) __attribute__((always_inline)) {
          score_rows<Dots, rows>(tile, row, block);
        });
  }
}

template <typename Dots>
void fixed_scores(const PilotFixed& tile) {
  const Rounding round = rounding(tile.requantisation);
  for (int64_t block = 0; block < tile.key_blocks; ++block) {
    for_steps(
        tile.rows, [&](auto rows, int64_t row) __attribute__((always_inline)) {
          fixed_rows<Dots, rows>(tile, round, row, block);
        });
  }
}

template <typename Dots>
void ranks(const PilotRank& list) {
  for (int64_t block = 0; block < list.key_blocks; ++block) {
    __m256 low = _mm256_setzero_ps();
    __m256 high = _mm256_setzero_ps();
    for_steps(
        list.rows, [&](auto rows, int64_t row) __attribute__((always_inline)) {
          add_shares<Dots, rows>(list, row, block, low, high);
        });
    const __m256i words = _mm256_packus_epi32(_mm256_srli_epi32(_mm256_castps_si256(low), 16),
                                              _mm256_srli_epi32(_mm256_castps_si256(high), 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(list.rank + block * kPilotKeyBlock),
                        _mm256_permute4x64_epi64(words, 0xD8));
  }
}

template <typename Dots>
void all_shares(const PilotShares& list) {
  for (int64_t block = 0; block < list.key_blocks; ++block) {
    for_steps(
        list.rows, [&](auto rows, int64_t row) __attribute__((always_inline)) {
          share_rows<Dots, rows>(list, row, block);
        });
  }
}

}  // namespace shadowattn::avx2_tile
