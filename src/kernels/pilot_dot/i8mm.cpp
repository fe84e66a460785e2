// smmla multiplies two rows × 8 dims by 8 dims × two keys: 32 products per instruction, four sums
//
//   row 0 · key 0, row 0 · key 1, row 1 · key 0, row 1 · key 1
//
// Keys:    [8 keys][dim/8][4 pairs][2 keys][8 dims] int8.
// Queries: step by step (see for_steps) [dim/8][rows of the step][8 dims]: two rows are a vector. A
//          last odd row faces the keys twice, and its second sums are dropped.
#include "kernels/pilot_dot/neon_tile.h"
#include "kernels/simd/neon_dot.h"
#include "kernels/simd/unroll.h"

namespace shadowattn {
namespace {

constexpr int kKeyPairs = static_cast<int>(kNeonKeys / 2);

/// Eight dims of one of the row pairs of a step.
template <int kRows>
[[gnu::always_inline]] inline int8x16_t load_pair(const int8_t* q, int pair) {
  if constexpr (kRows == 1) {
    const int8x8_t row = vld1_s8(q);
    return vcombine_s8(row, row);
  }
  return vld1q_s8(q + pair * 16);
}

template <int kRows, int kRowPairs>
[[gnu::always_inline]] inline void dot_pairs(const int8_t* q, const int8_t* k, int64_t dim,
                                             int32x4_t (&acc)[kRowPairs][kKeyPairs]) {
  unrolled<kRowPairs * kKeyPairs>([&](auto i) __attribute__((always_inline)) {
    acc[i / kKeyPairs][i % kKeyPairs] = vdupq_n_s32(0);
  });
  for (int64_t d = 0; d < dim; d += 16) {
    unrolled<2>([&](auto) __attribute__((always_inline)) {
      int8x16_t keys[kKeyPairs];
      unrolled<kKeyPairs>([&](auto p)
                              __attribute__((always_inline)) { keys[p] = vld1q_s8(k + p * 16); });
      unrolled<kRowPairs>([&](auto r) __attribute__((always_inline)) {
        const int8x16_t rows = load_pair<kRows>(q, r);
        unrolled<kKeyPairs>([&](auto p) __attribute__((always_inline)) {
          multiply_pairs(acc[r][p], rows, keys[p]);
        });
      });
      q += 8 * kRows;
      k += 8 * kNeonKeys;
      // GCC would load for the second half first, and spill accumulators.
      asm volatile("" : : : "memory");
    });
  }
}

/// Sums of one of two rows and of four keys, from those of two pairs of keys.
[[gnu::always_inline]] inline int32x4_t first_row(int32x4_t a, int32x4_t b) {
  return vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

[[gnu::always_inline]] inline int32x4_t second_row(int32x4_t a, int32x4_t b) {
  return vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

template <int kRows, typename Tile, typename Sink>
[[gnu::always_inline]] inline void step_rows(const Tile& tile, int64_t row, int64_t key,
                                             Sink& sink) {
  constexpr int kRowPairs = (kRows + 1) / 2;
  int32x4_t acc[kRowPairs][kKeyPairs];
  dot_pairs<kRows>(static_cast<const int8_t*>(tile.queries) + row * tile.dim,
                   static_cast<const int8_t*>(tile.keys) + key * tile.dim, tile.dim, acc);
  unrolled<kRowPairs>([&](auto p) __attribute__((always_inline)) {
    const int32x4_t(&sums)[kKeyPairs] = acc[p];
    sink.row(row + 2 * p, key, first_row(sums[0], sums[1]), first_row(sums[2], sums[3]));
    if constexpr (kRows > 1) {
      sink.row(row + 2 * p + 1, key, second_row(sums[0], sums[1]), second_row(sums[2], sums[3]));
    }
  });
}

template <typename Tile, typename Sink>
[[gnu::always_inline]] inline void run(const Tile& tile, Sink sink) {
  walk_keys(
      tile, sink, [&tile](int64_t key, Sink & into) __attribute__((always_inline)) {
        for_steps(
            tile.rows, [&](auto rows, int64_t row) __attribute__((always_inline)) {
              step_rows<rows>(tile, row, key, into);
            });
      });
}

}  // namespace

int64_t pilot_key_block_bytes_i8mm(int64_t dim) { return kPilotKeyBlock * dim; }

int64_t pilot_query_row_bytes_i8mm(int64_t dim) { return dim; }

void pilot_pack_keys_i8mm(const int8_t* k, int64_t keys, int64_t dim, void* packed) {
  pack_key_words(k, keys, dim, packed,
                 [](int64_t j, int64_t w) { return w / 2 * 16 + j * 2 + w % 2; });
}

void pilot_pack_queries_i8mm(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  auto* out = static_cast<int8_t*>(packed);
  for_steps(rows, [&](auto step_rows, int64_t row) {
    for (int64_t d = 0; d < dim; d += 8) {
      for (int64_t r = row; r < row + step_rows; ++r, out += 8) {
        std::memcpy(out, q + r * dim + d, 8);
      }
    }
  });
}

void pilot_scores_i8mm(const PilotTile& tile) { run(tile, NeonScores(tile)); }

void pilot_fixed_scores_i8mm(const PilotFixed& tile) { run(tile, NeonFixed(tile)); }

void pilot_ranks_i8mm(const PilotRank& list) {
  list.in_range ? run(list, NeonRanks<false>(list)) : run(list, NeonRanks<true>(list));
}

void pilot_pack_queries7_i8mm(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  pilot_pack_queries_i8mm(q, rows, dim, packed);
}

void pilot_shares_i8mm(const PilotShares& list) { run(list, NeonShares(list)); }

}  // namespace shadowattn
