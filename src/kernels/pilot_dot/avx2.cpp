// AVX2 has no INT8 dot product with a 32-bit sum. vpmaddubsw adds two products of an unsigned and a
// signed byte in 16 bits: of a query of seven bits, raised by 64, and a key of eight they fit,
// 2 · 127 · 127 < 2^15, and vpmaddwd by ones takes the sums on to 32 bits. With Σ k per key
//
//   Σ q·k = Σ (q + 64)·k - 64 · Σ k
//
// Of seven bits are the keys of shares too: then the sums of two vpmaddubsw fit, 4 · 127 · 63 <
// 2^15, and one vpmaddwd takes both on.
//
// A query of eight bits is twice one of seven and a bit: q = 2h + l with h = q >> 1, l = q & 1, so
// that Σ q·k = 2 · Σ h·k + Σ l·k.
//
// Keys:    [block]: [dim/4][16 keys][4] int8, so that one 32-byte vector is 8 keys × 4 dims; then
//          [16 keys] int32, -64 · Σ k.
// Queries: [row][2][dim] uint8, h + 64 and l; of seven bits q + 64, and nothing.
#include "kernels/pilot_dot/avx2_tile.h"

namespace shadowattn {
namespace {

using avx2_tile::broadcast_word;
using avx2_tile::load_keys;

int64_t block_bytes(int64_t dim) { return kPilotKeyBlock * (dim + 4); }

/// Adds the sums of kRows rows of unsigned bytes, `row_bytes` apart, and the sixteen keys of a
/// block.
template <int kRows>
[[gnu::always_inline]] inline void add_dots(const uint8_t* q, int64_t row_bytes, const uint8_t* k,
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
[[gnu::always_inline]] inline void add_dots7(const uint8_t* q, int64_t row_bytes, const uint8_t* k,
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
[[gnu::always_inline]] inline void start_dots(const uint8_t* k, int64_t dim, __m256i (&low)[kRows],
                                              __m256i (&high)[kRows]) {
  const uint8_t* sums = k + kPilotKeyBlock * dim;
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    low[r] = load_keys(sums);
    high[r] = load_keys(sums + 32);
  });
}

/// The INT32 sums of kRows query rows and keys of a block, both of seven bits.
template <int kRows>
[[gnu::always_inline]] inline void dot_rows7(const uint8_t* q, const uint8_t* k, int64_t dim,
                                             __m256i (&low)[kRows], __m256i (&high)[kRows]) {
  start_dots<kRows>(k, dim, low, high);
  add_dots7<kRows>(q, 2 * dim, k, dim, low, high);
}

/// The same of eight bits each.
template <int kRows>
[[gnu::always_inline]] inline void dot_rows(const uint8_t* q, const uint8_t* k, int64_t dim,
                                            __m256i (&low)[kRows], __m256i (&high)[kRows]) {
  start_dots<kRows>(k, dim, low, high);
  add_dots<kRows>(q, 2 * dim, k, dim, low, high);
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    low[r] = _mm256_slli_epi32(low[r], 1);
    high[r] = _mm256_slli_epi32(high[r], 1);
  });
  add_dots<kRows>(q + dim, 2 * dim, k, dim, low, high);
}

struct Maddubs {
  static int64_t block_bytes(int64_t dim) { return shadowattn::block_bytes(dim); }
  static int64_t row_bytes(int64_t dim) { return 2 * dim; }
  template <int kRows>
  [[gnu::always_inline]] static void sums(const uint8_t* q, const uint8_t* k, int64_t dim,
                                          __m256i (&low)[kRows], __m256i (&high)[kRows]) {
    dot_rows<kRows>(q, k, dim, low, high);
  }
  template <int kRows>
  [[gnu::always_inline]] static void sums7(const uint8_t* q, const uint8_t* k, int64_t dim,
                                           __m256i (&low)[kRows], __m256i (&high)[kRows]) {
    dot_rows7<kRows>(q, k, dim, low, high);
  }
};

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

void pilot_scores_avx2(const PilotTile& tile) { avx2_tile::scores<Maddubs>(tile); }

void pilot_fixed_scores_avx2(const PilotFixed& tile) { avx2_tile::fixed_scores<Maddubs>(tile); }

void pilot_ranks_avx2(const PilotRank& list) { avx2_tile::ranks<Maddubs>(list); }

void pilot_shares_avx2(const PilotShares& list) { avx2_tile::all_shares<Maddubs>(list); }

}  // namespace shadowattn
