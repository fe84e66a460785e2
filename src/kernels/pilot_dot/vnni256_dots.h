// `Dots` (avx2_tile.h) of vpdpbusd in 32-byte vectors, with the instruction left open: kernels have
// it, tests add the products up in another way, for machines without it.
//
// vpdpbusd multiplies unsigned by signed bytes, four products to a 32-bit sum, without saturation.
// Keys are stored with 128 added, so Σ q·k = Σ q·(k + 128) - 128·Σ q; the correction depends on the
// query row alone and is where the sums begin.
//
// Keys:    [block][dim/4][16 keys][4] uint8, so that one 32-byte vector is 8 keys × 4 dims.
// Queries: [row]: dim int8, then the correction, int32.
#pragma once

#include "kernels/pilot_dot/avx2_tile.h"

namespace shadowattn {

/// Step::dot(sum, keys, queries): one vpdpbusd.
template <typename Step>
struct Vnni256Dots {
  static int64_t block_bytes(int64_t dim) { return kPilotKeyBlock * dim; }
  static int64_t row_bytes(int64_t dim) { return dim + 4; }

  template <int kRows>
  [[gnu::always_inline]] static void sums(const uint8_t* q, const uint8_t* k, int64_t dim,
                                          __m256i (&low)[kRows], __m256i (&high)[kRows]) {
    const int64_t row = row_bytes(dim);
    unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
      low[r] = high[r] = avx2_tile::broadcast_word(q + r * row + dim);
    });
    for (int64_t d = 0; d < dim; d += 4, k += 64) {
      const __m256i k_low = avx2_tile::load_keys(k);
      const __m256i k_high = avx2_tile::load_keys(k + 32);
      unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
        const __m256i word = avx2_tile::broadcast_word(q + r * row + d);
        low[r] = Step::dot(low[r], k_low, word);
        high[r] = Step::dot(high[r], k_high, word);
      });
    }
  }
  template <int kRows>
  [[gnu::always_inline]] static void sums7(const uint8_t* q, const uint8_t* k, int64_t dim,
                                           __m256i (&low)[kRows], __m256i (&high)[kRows]) {
    sums<kRows>(q, k, dim, low, high);
  }

  static void pack_keys(const int8_t* k, int64_t keys, int64_t dim, void* packed) {
    auto* out = static_cast<uint8_t*>(packed);
    for (int64_t first = 0; first < keys; first += kPilotKeyBlock, out += block_bytes(dim)) {
      const int64_t in_block = keys - first < kPilotKeyBlock ? keys - first : kPilotKeyBlock;
      if (in_block < kPilotKeyBlock) std::memset(out, 128, static_cast<size_t>(block_bytes(dim)));
      for (int64_t j = 0; j < in_block; ++j) {
        const int8_t* row = k + (first + j) * dim;
        for (int64_t d = 0; d < dim; d += 4) {  // flipping the sign bit adds 128
          uint32_t word;
          std::memcpy(&word, row + d, sizeof word);
          word ^= 0x80808080U;
          std::memcpy(out + d * kPilotKeyBlock + j * 4, &word, sizeof word);
        }
      }
    }
  }

  static void pack_queries(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
    auto* out = static_cast<int8_t*>(packed);
    for (int64_t r = 0; r < rows; ++r, q += dim, out += row_bytes(dim)) {
      int32_t sum = 0;
      for (int64_t d = 0; d < dim; ++d) sum += q[d];
      const int32_t correction = -128 * sum;
      std::memcpy(out, q, static_cast<size_t>(dim));
      std::memcpy(out + dim, &correction, sizeof correction);
    }
  }
};

}  // namespace shadowattn
