// Armv8.0 has no INT8 dot product. Two products fit 16 bits (2 · 127² < 2^15), so that sixteen
// products of bytes take three instructions: smull and smlal2, then sadalp, which adds pairs of
// 16-bit sums to 32-bit ones. By element (smlal on words) it would be four.
//
// Keys:    [8 keys][dim/8][4 pairs of keys][2 × 4 dims][2 keys][4 dims] int8, so that a 16-byte
//          vector is two keys × 8 dims and its halves belong to the same keys.
// Queries: [row][dim/8][2 × 4 dims][2][4 dims]: every four dims twice, to face two keys.
#include "kernels/pilot_dot/neon_tile.h"
#include "kernels/simd/unroll.h"

namespace shadowattn {
namespace {

constexpr int kRowsPerStep = 4;  // 4 rows × 4 pairs = 16 accumulators; the chains need temporaries
constexpr int kPairs = static_cast<int>(kNeonKeys / 2);

/// acc[r][p]: lanes 0 and 1 sum up to the first key of pair p, lanes 2 and 3 to the second.
template <int kRows>
[[gnu::always_inline]] inline void dot_rows(const int8_t* q, const int8_t* k, int64_t dim,
                                            int32x4_t (&acc)[kRows][kPairs]) {
  unrolled<kRows * kPairs>([&](auto i) __attribute__((always_inline)) {
    acc[i / kPairs][i % kPairs] = vdupq_n_s32(0);
  });
  for (int64_t d = 0; d < dim; d += 8, k += kNeonKeys * 8) {
    int8x16_t keys[kPairs];
    unrolled<kPairs>([&](auto p)
                         __attribute__((always_inline)) { keys[p] = vld1q_s8(k + p * 16); });
    unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
      const int8x16_t query = vld1q_s8(q + (r * dim + d) * 2);
      int16x8_t sums[kPairs];
      unrolled<kPairs>([&](auto p) __attribute__((always_inline)) {
        sums[p] = vmull_s8(vget_low_s8(query), vget_low_s8(keys[p]));
      });
      unrolled<kPairs>([&](auto p) __attribute__((always_inline)) {
        sums[p] = vmlal_high_s8(sums[p], query, keys[p]);
      });
      unrolled<kPairs>([&](auto p) __attribute__((always_inline)) {
        acc[r][p] = vpadalq_s16(acc[r][p], sums[p]);
      });
    });
  }
}

template <int kRows, typename Tile, typename Sink>
[[gnu::always_inline]] inline void step_rows(const Tile& tile, int64_t row, int64_t key,
                                             Sink& sink) {
  int32x4_t acc[kRows][kPairs];
  dot_rows<kRows>(static_cast<const int8_t*>(tile.queries) + row * tile.dim * 2,
                  static_cast<const int8_t*>(tile.keys) + key * tile.dim, tile.dim, acc);
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    sink.row(row + r, key, vpaddq_s32(acc[r][0], acc[r][1]), vpaddq_s32(acc[r][2], acc[r][3]));
  });
}

template <typename Tile, typename Sink>
[[gnu::always_inline]] inline void run(const Tile& tile, Sink sink) {
  walk_keys(
      tile, sink, [&tile](int64_t key, Sink & into) __attribute__((always_inline)) {
        int64_t row = 0;
        for (; row + kRowsPerStep <= tile.rows; row += kRowsPerStep) {
          step_rows<kRowsPerStep>(tile, row, key, into);
        }
        if (row + 2 <= tile.rows) {
          step_rows<2>(tile, row, key, into);
          row += 2;
        }
        if (row < tile.rows) step_rows<1>(tile, row, key, into);
      });
}

}  // namespace

int64_t pilot_key_block_bytes_neon(int64_t dim) { return kPilotKeyBlock * dim; }

int64_t pilot_query_row_bytes_neon(int64_t dim) { return dim * 2; }

void pilot_pack_keys_neon(const int8_t* k, int64_t keys, int64_t dim, void* packed) {
  pack_key_words(k, keys, dim, packed,
                 [](int64_t j, int64_t w) { return w / 2 * 16 + j / 2 * 4 + w % 2 * 2 + j % 2; });
}

void pilot_pack_queries_neon(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  auto* out = static_cast<int8_t*>(packed);
  for (int64_t i = 0; i < rows * dim; i += 4) {
    std::memcpy(out + i * 2, q + i, 4);
    std::memcpy(out + i * 2 + 4, q + i, 4);
  }
}

void pilot_scores_neon(const PilotTile& tile) { run(tile, NeonScores(tile)); }

void pilot_fixed_scores_neon(const PilotFixed& tile) { run(tile, NeonFixed(tile)); }

void pilot_ranks_neon(const PilotRank& list) {
  list.in_range ? run(list, NeonRanks<false>(list)) : run(list, NeonRanks<true>(list));
}

void pilot_pack_queries7_neon(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  pilot_pack_queries_neon(q, rows, dim, packed);
}

void pilot_shares_neon(const PilotShares& list) { run(list, NeonShares(list)); }

}  // namespace shadowattn
