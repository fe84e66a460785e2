// vpdpbusd multiplies unsigned by signed bytes, four products to a 32-bit sum, without saturation.
// Keys are stored with 128 added, so Σ q·k = Σ q·(k + 128) - 128·Σ q; the correction depends on the
// query row alone and is where the accumulator starts.
//
// Keys:    [block][dim/4][16 keys][4] uint8, so that one 64-byte vector is 16 keys × 4 dims.
// Queries: [row]: int32 correction (in 64 bytes), then dim int8.
#include <immintrin.h>

#include <cstring>

#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/simd/avx512_dot.h"
#include "kernels/simd/unroll.h"

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

/// acc[r][b]: the INT32 sums of kRows query rows (from `q` on) and kBlocks key blocks (from `k`
/// on), all plus `added`.
template <int kRows, int kBlocks>
[[gnu::always_inline]] inline void dot_rows(const int8_t* q, const uint8_t* k, int64_t dim,
                                            __m512i (&acc)[kRows][kBlocks], int32_t added = 0) {
  const int64_t row_bytes = kQueryHeader + dim;
  const int64_t block_bytes = kPilotKeyBlock * dim;
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    const __m512i start = _mm512_set1_epi32(load_word(q + r * row_bytes) + added);
    unrolled<kBlocks>([&](auto b) __attribute__((always_inline)) { acc[r][b] = start; });
  });
  q += kQueryHeader;
  for (int64_t d = 0; d < dim; d += 4, k += 64) {
    __m512i keys[kBlocks];
    unrolled<kBlocks>([&](auto b) __attribute__((always_inline)) {
      keys[b] = _mm512_loadu_si512(k + b * block_bytes);
    });
    unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
      const __m512i word = _mm512_set1_epi32(load_word(q + r * row_bytes + d));
      unrolled<kBlocks>([&](auto b) __attribute__((always_inline)) {
        dot_bytes(acc[r][b], keys[b], word);
      });
    });
  }
}

template <int kRows, int kBlocks>
void score_rows(const PilotTile& tile, int64_t row, int64_t block) {
  __m512i acc[kRows][kBlocks];
  dot_rows<kRows, kBlocks>(
      static_cast<const int8_t*>(tile.queries) + row * (kQueryHeader + tile.dim),
      static_cast<const uint8_t*>(tile.keys) + block * kPilotKeyBlock * tile.dim, tile.dim, acc);
  unrolled<kRows * kBlocks>([&](auto i) __attribute__((always_inline)) {
    constexpr int r = i / kBlocks;
    constexpr int b = i % kBlocks;
    const int64_t key = (block + b) * kPilotKeyBlock;
    store_scores(acc[r][b], tile.key_factor + key, tile.row_factor[row + r],
                 tile.scores + (row + r) * tile.stride + key);
  });
}

/// Four blocks of one row: 64 scores at once. Sums have half a unit added already.
inline void store_fixed(const __m512i (&acc)[4], __m128i shift, __m512i mantissa, int8_t* out) {
  const __m512i first =
      _mm512_packs_epi32(_mm512_sra_epi32(acc[0], shift), _mm512_sra_epi32(acc[1], shift));
  const __m512i second =
      _mm512_packs_epi32(_mm512_sra_epi32(acc[2], shift), _mm512_sra_epi32(acc[3], shift));
  const __m512i bytes = _mm512_packs_epi16(_mm512_mulhrs_epi16(first, mantissa),
                                           _mm512_mulhrs_epi16(second, mantissa));
  // packs works in 128-bit lanes: a lane now holds four keys of each block.
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  // It saturates to [-128, 127].
  _mm512_storeu_si512(
      out, _mm512_max_epi8(_mm512_permutexvar_epi32(order, bytes), _mm512_set1_epi8(-127)));
}

inline void store_fixed(const __m512i (&acc)[1], __m128i shift, __m512i mantissa, int8_t* out) {
  const __m256i words = _mm256_mulhrs_epi16(_mm512_cvtsepi32_epi16(_mm512_sra_epi32(acc[0], shift)),
                                            _mm512_castsi512_si256(mantissa));
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_max_epi8(bytes, _mm_set1_epi8(-127)));
}

template <int kRows, int kBlocks>
void fixed_rows(const PilotFixed& tile, int64_t row, int64_t block) {
  __m512i acc[kRows][kBlocks];
  const int32_t shift = tile.requantisation.shift;
  dot_rows<kRows, kBlocks>(
      static_cast<const int8_t*>(tile.queries) + row * (kQueryHeader + tile.dim),
      static_cast<const uint8_t*>(tile.keys) + block * kPilotKeyBlock * tile.dim, tile.dim, acc,
      (1 << shift) / 2);
  const __m128i count = _mm_cvtsi32_si128(shift);
  const __m512i mantissa = _mm512_set1_epi16(static_cast<int16_t>(tile.requantisation.mantissa));
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    store_fixed(acc[r], count, mantissa,
                tile.scores + (row + r) * tile.stride + block * kPilotKeyBlock);
  });
}

/// Adds the shares of kRows rows to share[b].
template <int kRows, int kBlocks, bool kClamp>
[[gnu::always_inline]] inline void add_shares(const PilotRank& list, int64_t row, int64_t block,
                                              __m512 (&share)[kBlocks]) {
  __m512i acc[kRows][kBlocks];
  dot_rows<kRows, kBlocks>(
      static_cast<const int8_t*>(list.queries) + row * (kQueryHeader + list.dim),
      static_cast<const uint8_t*>(list.keys) + block * kPilotKeyBlock * list.dim, list.dim, acc);
  [[maybe_unused]] const __m512 cap = _mm512_set1_ps(kRankCap);
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    const __m512 slope = _mm512_set1_ps(list.slope[row + r]);
    const __m512 offset = _mm512_set1_ps(list.offset[row + r]);
    unrolled<kBlocks>([&](auto b) __attribute__((always_inline)) {
      const __m512 factor = _mm512_loadu_ps(list.key_factor + (block + b) * kPilotKeyBlock);
      const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[r][b]), factor);
      __m512 bits = _mm512_fmadd_ps(product, slope, offset);
      if (kClamp) bits = _mm512_min_ps(_mm512_max_ps(bits, _mm512_setzero_ps()), cap);
      share[b] = _mm512_add_ps(share[b], _mm512_castsi512_ps(_mm512_cvttps_epi32(bits)));
    });
  });
}

template <int kBlocks, bool kClamp>
void rank_blocks(const PilotRank& list, int64_t block) {
  __m512 share[kBlocks];
  for (__m512& s : share) s = _mm512_setzero_ps();
  int64_t row = 0;
  for (; row + kRowsPerStep <= list.rows; row += kRowsPerStep) {
    add_shares<kRowsPerStep, kBlocks, kClamp>(list, row, block, share);
  }
  for (; row + 4 <= list.rows; row += 4) add_shares<4, kBlocks, kClamp>(list, row, block, share);
  for (; row < list.rows; ++row) add_shares<1, kBlocks, kClamp>(list, row, block, share);
  for (int b = 0; b < kBlocks; ++b) {
    const __m512i upper = _mm512_srli_epi32(_mm512_castps_si512(share[b]), 16);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(list.rank + (block + b) * kPilotKeyBlock),
                        _mm512_cvtepi32_epi16(upper));
  }
}

/// The halves of two blocks' shares, and their sum to the row's total.
template <int kRows, int kBlocks>
void share_rows(const PilotShares& list, int64_t row, int64_t block) {
  __m512i acc[kRows][kBlocks];
  dot_rows<kRows, kBlocks>(
      static_cast<const int8_t*>(list.queries) + row * (kQueryHeader + list.dim),
      static_cast<const uint8_t*>(list.keys) + block * kPilotKeyBlock * list.dim, list.dim, acc);
  const __m512i cap = _mm512_set1_epi32(kShareCap);
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    const __m512 slope = _mm512_set1_ps(list.slope[row + r]);
    const __m512 offset = _mm512_set1_ps(list.offset[row + r]);
    float* total = list.total + (row + r) * kShareLanes;
    __m512 sum = _mm512_loadu_ps(total);
    unrolled<kBlocks>([&](auto b) __attribute__((always_inline)) {
      const int64_t key = (block + b) * kPilotKeyBlock;
      const __m512 factor = _mm512_loadu_ps(list.key_factor + key);
      const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[r][b]), factor);
      const __m512i bits = _mm512_cvtps_epi32(_mm512_fmadd_ps(product, slope, offset));
      const __m512i half = _mm512_min_epi32(_mm512_max_epi32(bits, _mm512_setzero_si512()), cap);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(list.half + (row + r) * list.stride + key),
                          _mm512_cvtepi32_epi16(half));
      sum = _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_slli_epi32(half, 16)));
    });
    _mm512_storeu_ps(total, sum);
  });
}

template <int kBlocks>
void share_blocks(const PilotShares& list, int64_t block) {
  int64_t row = 0;
  for (; row + kRowsPerStep <= list.rows; row += kRowsPerStep) {
    share_rows<kRowsPerStep, kBlocks>(list, row, block);
  }
  for (; row + 2 <= list.rows; row += 2) share_rows<2, kBlocks>(list, row, block);
  if (row < list.rows) share_rows<1, kBlocks>(list, row, block);
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

template <int kRows, int kBlocks>
void fixed_blocks(const PilotFixed& tile, int64_t block) {
  int64_t row = 0;
  for (; row + kRows <= tile.rows; row += kRows) fixed_rows<kRows, kBlocks>(tile, row, block);
  for (; row + 2 <= tile.rows; row += 2) fixed_rows<2, kBlocks>(tile, row, block);
  if (row < tile.rows) fixed_rows<1, kBlocks>(tile, row, block);
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
      for (int64_t d = 0; d < dim; d += 4) {  // flipping the sign bit adds 128
        const auto word = static_cast<uint32_t>(load_word(row + d)) ^ 0x80808080U;
        std::memcpy(out + d * 16 + j * 4, &word, sizeof word);
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

void pilot_pack_queries7_avx512vnni(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  pilot_pack_queries_avx512vnni(q, rows, dim, packed);
}

void pilot_shares_avx512vnni(const PilotShares& list) {
  int64_t block = 0;
  for (; block + 2 <= list.key_blocks; block += 2) share_blocks<2>(list, block);
  if (block < list.key_blocks) share_blocks<1>(list, block);
}

void pilot_ranks_avx512vnni(const PilotRank& list) {
  int64_t block = 0;
  for (; block + 2 <= list.key_blocks; block += 2) {
    list.in_range ? rank_blocks<2, false>(list, block) : rank_blocks<2, true>(list, block);
  }
  if (block < list.key_blocks) rank_blocks<1, true>(list, block);
}

void pilot_fixed_scores_avx512vnni(const PilotFixed& tile) {
  int64_t block = 0;
  for (; block + 4 <= tile.key_blocks; block += 4) fixed_blocks<4, 4>(tile, block);
  for (; block < tile.key_blocks; ++block) fixed_blocks<8, 1>(tile, block);
}

void pilot_scores_avx512vnni(const PilotTile& tile) {
  int64_t block = 0;
  for (; block + 2 <= tile.key_blocks; block += 2) score_blocks<2>(tile, block);
  if (block < tile.key_blocks) score_blocks<1>(tile, block);
}

}  // namespace shadowattn
