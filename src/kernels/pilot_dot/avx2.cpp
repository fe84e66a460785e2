// AVX2 has no INT8 dot product with a 32-bit sum. vpmaddubsw adds two products of an unsigned and a
// signed byte in 16 bits: of a query of seven bits, raised by 64, and a key of eight they fit,
// 2 · 127 · 127 < 2^15, and vpmaddwd by ones takes the sums on to 32 bits. With Σ k per key
//
//   Σ q·k = Σ (q + 64)·k - 64 · Σ k
//
// Of seven bits are the keys of shares too: then the sums of two vpmaddubsw fit, 4 · 127 · 63 < 2^15,
// and one vpmaddwd takes both on.
//
// A query of eight bits is twice one of seven and a bit: q = 2h + l with h = q >> 1, l = q & 1, so
// that Σ q·k = 2 · Σ h·k + Σ l·k.
//
// Keys:    [block]: [dim/4][16 keys][4] int8, so that one 32-byte vector is 8 keys × 4 dims; then
//          [16 keys] int32, -64 · Σ k.
// Queries: [row][2][dim] uint8, h + 64 and l; of seven bits q + 64, and nothing.
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

inline __m256i broadcast_word(const uint8_t* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof word);
  return _mm256_set1_epi32(word);
}

inline __m256i load_keys(const int8_t* k) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(k));
}

int64_t block_bytes(int64_t dim) { return kPilotKeyBlock * (dim + 4); }

/// Adds the sums of kRows rows of unsigned bytes, `row_bytes` apart, and the sixteen keys of a
/// block.
template <int kRows>
[[gnu::always_inline]] inline void add_dots(const uint8_t* q, int64_t row_bytes, const int8_t* k,
                                            int64_t dim, __m256i (&low)[kRows],
                                            __m256i (&high)[kRows]) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (int64_t d = 0; d < dim; d += 4, k += 64) {
    const __m256i k_low = load_keys(k);
    const __m256i k_high = load_keys(k + 32);
    unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
      const __m256i word = broadcast_word(q + r * row_bytes + d);
      low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(_mm256_maddubs_epi16(word, k_low), ones));
      high[r] =
          _mm256_add_epi32(high[r], _mm256_madd_epi16(_mm256_maddubs_epi16(word, k_high), ones));
    });
  }
}

/// The same where two sums of products fit 16 bits together.
template <int kRows>
[[gnu::always_inline]] inline void add_dots7(const uint8_t* q, int64_t row_bytes, const int8_t* k,
                                             int64_t dim, __m256i (&low)[kRows],
                                             __m256i (&high)[kRows]) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (int64_t d = 0; d < dim; d += 8, k += 128) {
    const __m256i k_low[2] = {load_keys(k), load_keys(k + 64)};
    const __m256i k_high[2] = {load_keys(k + 32), load_keys(k + 96)};
    unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
      const __m256i first = broadcast_word(q + r * row_bytes + d);
      const __m256i second = broadcast_word(q + r * row_bytes + d + 4);
      const __m256i a = _mm256_add_epi16(_mm256_maddubs_epi16(first, k_low[0]),
                                         _mm256_maddubs_epi16(second, k_low[1]));
      const __m256i b = _mm256_add_epi16(_mm256_maddubs_epi16(first, k_high[0]),
                                         _mm256_maddubs_epi16(second, k_high[1]));
      low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(a, ones));
      high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(b, ones));
    });
  }
}

/// Where the sums of kRows rows raised by 64 and the keys of a block begin.
template <int kRows>
[[gnu::always_inline]] inline void start_dots(const int8_t* k, int64_t dim, __m256i (&low)[kRows],
                                              __m256i (&high)[kRows]) {
  const int8_t* sums = k + kPilotKeyBlock * dim;
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    low[r] = load_keys(sums);
    high[r] = load_keys(sums + 32);
  });
}

/// The INT32 sums of kRows query rows and keys of a block, both of seven bits.
template <int kRows>
[[gnu::always_inline]] inline void dot_rows7(const uint8_t* q, const int8_t* k, int64_t dim,
                                             __m256i (&low)[kRows], __m256i (&high)[kRows]) {
  start_dots<kRows>(k, dim, low, high);
  add_dots7<kRows>(q, 2 * dim, k, dim, low, high);
}

/// The same of eight bits each.
template <int kRows>
[[gnu::always_inline]] inline void dot_rows(const uint8_t* q, const int8_t* k, int64_t dim,
                                            __m256i (&low)[kRows], __m256i (&high)[kRows]) {
  start_dots<kRows>(k, dim, low, high);
  add_dots<kRows>(q, 2 * dim, k, dim, low, high);
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    low[r] = _mm256_slli_epi32(low[r], 1);
    high[r] = _mm256_slli_epi32(high[r], 1);
  });
  add_dots<kRows>(q + dim, 2 * dim, k, dim, low, high);
}

inline const uint8_t* row_at(const void* queries, int64_t row, int64_t dim) {
  return static_cast<const uint8_t*>(queries) + row * 2 * dim;
}

inline const int8_t* block_at(const void* keys, int64_t block, int64_t dim) {
  return static_cast<const int8_t*>(keys) + block * block_bytes(dim);
}

template <int kRows>
void score_rows(const PilotTile& tile, int64_t row, int64_t block) {
  __m256i low[kRows];
  __m256i high[kRows];
  dot_rows<kRows>(row_at(tile.queries, row, tile.dim), block_at(tile.keys, block, tile.dim),
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
  dot_rows<kRows>(row_at(tile.queries, row, tile.dim), block_at(tile.keys, block, tile.dim),
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
  dot_rows<kRows>(row_at(list.queries, row, list.dim), block_at(list.keys, block, list.dim),
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

/// The upper halves of eight keys' shares of one row, not yet capped.
inline __m256i share_halves(__m256i acc, __m256 key_factor, __m256 slope, __m256 offset) {
  const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), key_factor);
  return _mm256_cvtps_epi32(_mm256_fmadd_ps(product, slope, offset));
}

/// The upper halves of the shares of kRows rows and the sixteen keys of a block.
template <int kRows>
void share_rows(const PilotShares& list, int64_t row, int64_t block) {
  __m256i low[kRows];
  __m256i high[kRows];
  dot_rows7<kRows>(row_at(list.queries, row, list.dim), block_at(list.keys, block, list.dim),
                   list.dim, low, high);
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

}  // namespace

int64_t pilot_key_block_bytes_avx2(int64_t dim) { return block_bytes(dim); }

int64_t pilot_query_row_bytes_avx2(int64_t dim) { return dim * 2; }

void pilot_pack_keys_avx2(const int8_t* k, int64_t keys, int64_t dim, void* packed) {
  auto* out = static_cast<int8_t*>(packed);
  for (int64_t first = 0; first < keys; first += kPilotKeyBlock, out += block_bytes(dim)) {
    const int64_t in_block = keys - first < kPilotKeyBlock ? keys - first : kPilotKeyBlock;
    if (in_block < kPilotKeyBlock) std::memset(out, 0, static_cast<size_t>(block_bytes(dim)));
    for (int64_t j = 0; j < in_block; ++j) {
      const int8_t* row = k + (first + j) * dim;
      int32_t sum = 0;
      for (int64_t d = 0; d < dim; ++d) sum += row[d];
      sum *= -64;
      for (int64_t d = 0; d < dim; d += 4) std::memcpy(out + d * 16 + j * 4, row + d, 4);
      std::memcpy(out + kPilotKeyBlock * dim + j * 4, &sum, sizeof sum);
    }
  }
}

void pilot_pack_queries_avx2(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  auto* out = static_cast<uint8_t*>(packed);
  for (int64_t r = 0; r < rows; ++r, q += dim, out += 2 * dim) {
    for (int64_t d = 0; d < dim; ++d) {
      out[d] = static_cast<uint8_t>((q[d] >> 1) + 64);
      out[dim + d] = static_cast<uint8_t>(q[d] & 1);
    }
  }
}

void pilot_pack_queries7_avx2(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  auto* out = static_cast<uint8_t*>(packed);
  for (int64_t r = 0; r < rows; ++r, q += dim, out += 2 * dim) {
    for (int64_t d = 0; d < dim; ++d) out[d] = static_cast<uint8_t>(q[d] + 64);
  }
}

void pilot_shares_avx2(const PilotShares& list) {
  for (int64_t block = 0; block < list.key_blocks; ++block) {
    int64_t row = 0;
    for (; row + kRowsPerStep <= list.rows; row += kRowsPerStep) {
      share_rows<kRowsPerStep>(list, row, block);
    }
    for (; row < list.rows; ++row) share_rows<1>(list, row, block);
  }
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
