// sdot by element: four products to each 32-bit sum, of four keys and one row whose four bytes are
// a lane of a vector. No load and no broadcast for a row: one vector serves four of them.
//
// Keys:    [8 keys][dim/4][8 keys][4 dims] int8.
// Queries: [4 rows][dim/4][4 rows][4 dims]; what is left over (three rows at most) as it comes,
//          [row][dim].
#include "kernels/pilot_dot/neon_tile.h"
#include "kernels/simd/neon_dot.h"
#include "kernels/simd/unroll.h"

namespace shadowattn {
namespace {

constexpr int kGroup = 4;  // rows that share a vector
constexpr int64_t kUnrolledDims = 8;

/// The sums of kGroups · 4 rows and eight keys.
template <int kGroups>
[[gnu::always_inline]] inline void dot_groups(const int8_t* q, const int8_t* k, int64_t dim,
                                              int32x4_t (&acc)[kGroups * kGroup][2]) {
  unrolled<kGroups * kGroup>([&](auto r) __attribute__((always_inline)) {
    acc[r][0] = acc[r][1] = vdupq_n_s32(0);
  });
  for (int64_t d = 0; d < dim; d += kUnrolledDims) {
    unrolled<kUnrolledDims / 4>([&](auto w) __attribute__((always_inline)) {
      const int8x16_t low = vld1q_s8(k + w * 32);
      const int8x16_t high = vld1q_s8(k + w * 32 + 16);
      unrolled<kGroups>([&](auto g) __attribute__((always_inline)) {
        const int8x16_t rows = vld1q_s8(q + g * kGroup * dim + w * 16);
        unrolled<kGroup>([&](auto r) __attribute__((always_inline)) {
          int32x4_t(&sums)[2] = acc[g * kGroup + r];
          dot_bytes_lane<r>(sums[0], low, rows);
          dot_bytes_lane<r>(sums[1], high, rows);
        });
      });
    });
    q += kUnrolledDims * kGroup;
    k += kUnrolledDims * kNeonKeys;
  }
}

/// The same of kRows rows that are not interleaved: sixteen dims of one row are a vector.
template <int kRows>
[[gnu::always_inline]] inline void dot_rows(const int8_t* q, const int8_t* k, int64_t dim,
                                            int32x4_t (&acc)[kRows][2]) {
  unrolled<kRows>([&](auto r)
                      __attribute__((always_inline)) { acc[r][0] = acc[r][1] = vdupq_n_s32(0); });
  for (int64_t d = 0; d < dim; d += 16, k += 16 * kNeonKeys) {
    int8x16_t row[kRows];
    unrolled<kRows>([&](auto r)
                        __attribute__((always_inline)) { row[r] = vld1q_s8(q + r * dim + d); });
    unrolled<4>([&](auto w) __attribute__((always_inline)) {
      const int8x16_t low = vld1q_s8(k + w * 32);
      const int8x16_t high = vld1q_s8(k + w * 32 + 16);
      unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
        dot_bytes_lane<w>(acc[r][0], low, row[r]);
        dot_bytes_lane<w>(acc[r][1], high, row[r]);
      });
    });
  }
}

/// kRows rows, in groups where there are four of them.
template <int kRows, typename Tile, typename Sink>
[[gnu::always_inline]] inline void step_rows(const Tile& tile, int64_t row, int64_t key,
                                             Sink& sink) {
  int32x4_t acc[kRows][2];
  const int8_t* q = static_cast<const int8_t*>(tile.queries) + row * tile.dim;
  const int8_t* k = static_cast<const int8_t*>(tile.keys) + key * tile.dim;
  if constexpr (kRows % kGroup == 0) {
    dot_groups<kRows / kGroup>(q, k, tile.dim, acc);
  } else {
    dot_rows<kRows>(q, k, tile.dim, acc);
  }
  unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
    sink.row(row + r, key, acc[r][0], acc[r][1]);
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

int64_t pilot_key_block_bytes_dotprod(int64_t dim) { return kPilotKeyBlock * dim; }

int64_t pilot_query_row_bytes_dotprod(int64_t dim) { return dim; }

void pilot_pack_keys_dotprod(const int8_t* k, int64_t keys, int64_t dim, void* packed) {
  pack_key_words(k, keys, dim, packed, [](int64_t j, int64_t w) { return w * kNeonKeys + j; });
}

void pilot_pack_queries_dotprod(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  auto* out = static_cast<int8_t*>(packed);
  const int64_t grouped = rows / kGroup * kGroup;
  for (int64_t row = 0; row < grouped; row += kGroup) {
    for (int64_t i = 0; i < kGroup * dim / 4; ++i, out += 4) {  // word i / 4 of row i % 4
      std::memcpy(out, q + (row + i % kGroup) * dim + i / kGroup * 4, 4);
    }
  }
  std::memcpy(out, q + grouped * dim, static_cast<size_t>((rows - grouped) * dim));
}

void pilot_scores_dotprod(const PilotTile& tile) { run(tile, NeonScores(tile)); }

void pilot_fixed_scores_dotprod(const PilotFixed& tile) { run(tile, NeonFixed(tile)); }

void pilot_ranks_dotprod(const PilotRank& list) {
  list.in_range ? run(list, NeonRanks<false>(list)) : run(list, NeonRanks<true>(list));
}

void pilot_pack_queries7_dotprod(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  pilot_pack_queries_dotprod(q, rows, dim, packed);
}

void pilot_shares_dotprod(const PilotShares& list) { run(list, NeonShares(list)); }

}  // namespace shadowattn
