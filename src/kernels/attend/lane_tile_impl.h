// Micro-tiles of `tile_block` for instruction sets that multiply a vector by one lane of another
// (Simd::fma_lane): one load brings kLanes factors, where broadcasting takes a load for each.
#pragma once

#include <cstdint>

#include "kernels/attend/attend.h"
#include "kernels/simd/next_row.h"
#include "kernels/simd/unroll.h"

namespace shadowattn {

template <typename Simd>
inline constexpr bool kMultipliesByLane = requires(typename Simd::Vec v) {
  Simd::template fma_lane<0>(v, v, v);
};

/// acc[j][v] += key[j][kLane] · query[v] for kKeys keys and kVecs vectors of rows, two at a time.
template <typename Simd, int kLane, int kVecs, int kKeys>
[[gnu::always_inline]] inline void add_products(const float* query, const typename Simd::Vec* key,
                                                typename Simd::Vec* acc) {
  constexpr int kPair = kVecs == 1 ? 1 : 2;
  static_assert(kVecs % kPair == 0);
  unrolled<kVecs / kPair>([&](auto pair) __attribute__((always_inline)) {
    typename Simd::Vec q[kPair];
    unrolled<kPair>([&](auto v) __attribute__((always_inline)) {
      q[v] = Simd::load(query + (pair * kPair + v) * Simd::kLanes);
    });
    unrolled<kPair * kKeys>([&](auto i) __attribute__((always_inline)) {
      typename Simd::Vec& sum = acc[i % kKeys * kVecs + pair * kPair + i / kKeys];
      sum = Simd::template fma_lane<kLane>(q[i / kKeys], key[i % kKeys], sum);
    });
  });
}

/// logits[j][r] = Σ_d key[j][d] · query[d][r] for kVecs vectors of rows and kKeys keys: kLanes
/// elements of every key at once, and for each of them the query's vectors.
template <typename Simd, int kVecs, int kKeys>
void lane_logits_micro(const AttendBlock& b, int64_t row, int64_t first_key) {
  using Vec = typename Simd::Vec;
  constexpr int kLanes = Simd::kLanes;
  const int64_t rows = b.rows;
  const int64_t dim = b.dim;
  Vec acc[kKeys * kVecs];
  unrolled<kKeys * kVecs>([&](auto i) __attribute__((always_inline)) { acc[i] = Simd::zero(); });
  const float* q = b.query + row;
  const float* k = b.key + first_key * dim;
  for (const float* end = k + dim; k != end; k += kLanes) {
    Vec key[kKeys];
    unrolled<kKeys>([&](auto j)
                        __attribute__((always_inline)) { key[j] = Simd::load(k + j * dim); });
    unrolled<kLanes>([&](auto lane) __attribute__((always_inline)) {
      add_products<Simd, lane, kVecs, kKeys>(q, key, acc);
      next_row(q, rows);
    });
  }
  float* out = b.logits + first_key * rows + row;
  unrolled<kKeys * kVecs>([&](auto i) __attribute__((always_inline)) {
    Simd::store(out + i / kVecs * rows + i % kVecs * kLanes, acc[i]);
  });
}

/// The last step may run into the zero padding of the keys.
template <typename Simd, int kVecs>
void lane_logits_rows(const AttendBlock& b, int64_t row) {
  static_assert(kAttendKeyPadding % 8 == 0);
  for (int64_t j = 0; j < b.keys; j += 8) lane_logits_micro<Simd, kVecs, 8>(b, row, j);
}

/// 24 accumulators, 6 registers of keys and 2 of the query.
template <typename Simd>
void lane_logits_wide(const AttendBlock& b, int64_t row) {
  // Up to the next even key at most, for the padding need not reach the next multiple of six.
  int64_t j = 0;
  for (; j + 4 < b.keys; j += 6) lane_logits_micro<Simd, 4, 6>(b, row, j);
  if (j + 2 < b.keys) {
    lane_logits_micro<Simd, 4, 4>(b, row, j);
  } else if (j < b.keys) {
    lane_logits_micro<Simd, 4, 2>(b, row, j);
  }
}

template <typename Simd>
void lane_tile_logits(const AttendBlock& b) {
  constexpr int64_t kLanes = Simd::kLanes;
  int64_t row = 0;
  for (; row + 4 * kLanes <= b.rows; row += 4 * kLanes) lane_logits_wide<Simd>(b, row);
  for (; row + 2 * kLanes <= b.rows; row += 2 * kLanes) lane_logits_rows<Simd, 2>(b, row);
  for (; row < b.rows; row += kLanes) lane_logits_rows<Simd, 1>(b, row);
}

/// acc[r][v] += weights[r] · value[v] for kLanes rows and kVecs vectors, two at a time.
template <typename Simd, int kVecs>
[[gnu::always_inline]] inline void add_weighted(const float* weights, const float* value,
                                                typename Simd::Vec* acc) {
  using Vec = typename Simd::Vec;
  constexpr int kLanes = Simd::kLanes;
  const Vec p = Simd::load(weights);
  unrolled<kVecs / 2>([&](auto pair) __attribute__((always_inline)) {
    const float* v = value + pair * 2 * kLanes;
    const Vec x[2] = {Simd::load(v), Simd::load(v + kLanes)};
    unrolled<2 * kLanes>([&](auto i) __attribute__((always_inline)) {
      Vec& sum = acc[i % kLanes * kVecs + pair * 2 + i / kLanes];
      sum = Simd::template fma_lane<i % kLanes>(x[i / kLanes], p, sum);
    });
  });
}

/// out[r][d] += Σ_j logits[j][r] · value[j][d] for kLanes rows and kVecs vectors of d.
template <typename Simd, int kVecs>
void lane_output_micro(const AttendBlock& b, int64_t row, int64_t d) {
  constexpr int kAcc = Simd::kLanes * kVecs;
  const int64_t rows = b.rows;
  const int64_t dim = b.value_dim;
  typename Simd::Vec acc[kAcc];
  float* out = b.out + row * dim + d;
  unrolled<kAcc>([&](auto i) __attribute__((always_inline)) {
    acc[i] = Simd::load(out + i / kVecs * dim + i % kVecs * Simd::kLanes);
  });
  const float* p = b.logits + row;
  const float* value = b.value + d;
  for (const float* end = p + b.keys / 4 * 4 * rows; p != end; p += 4 * rows) {
    unrolled<4>([&](auto j) __attribute__((always_inline)) {
      add_weighted<Simd, kVecs>(p + j * rows, value, acc);
      next_row(value, dim);
    });
  }
  for (int64_t j = b.keys % 4; j > 0; --j, p += rows) {
    add_weighted<Simd, kVecs>(p, value, acc);
    next_row(value, dim);
  }
  unrolled<kAcc>([&](auto i) __attribute__((always_inline)) {
    Simd::store(out + i / kVecs * dim + i % kVecs * Simd::kLanes, acc[i]);
  });
}

template <typename Simd, int kVecs>
void lane_output_columns(const AttendBlock& b, int64_t d) {
  for (int64_t row = 0; row < b.rows; row += Simd::kLanes) {
    lane_output_micro<Simd, kVecs>(b, row, d);
  }
}

/// Twice six vectors of d, each with 24 accumulators, and the rest of `value_dim` in fours.
template <typename Simd>
void lane_tile_output(const AttendBlock& b) {
  static_assert(Simd::kLanes == 4);  // value_dim is a multiple of four vectors
  int64_t d = 0;
  for (; d + 48 <= b.value_dim; d += 48) {
    lane_output_columns<Simd, 6>(b, d);
    lane_output_columns<Simd, 6>(b, d + 24);
  }
  for (; d < b.value_dim; d += 16) lane_output_columns<Simd, 4>(b, d);
}

}  // namespace shadowattn
