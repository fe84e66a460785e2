// Micro-tiles of `tile_block` for instruction sets that multiply a vector by one lane of another
// (Simd::fma_lane): one load brings kLanes factors, where broadcasting takes a load for each.
#pragma once

#include <cstdint>

#include "kernels/attend/attend.h"
#include "kernels/simd/unroll.h"

namespace shadowattn {

template <typename Simd>
inline constexpr bool kMultipliesByLane = requires(typename Simd::Vec v) {
  Simd::template fma_lane<0>(v, v, v);
};

/// logits[j][r] = Σ_d key[j][d] · query[d][r] for kVecs vectors of rows and kKeys keys: kLanes
/// elements of every key at once, and for each of them the query's vectors.
template <typename Simd, int kVecs, int kKeys>
void lane_logits_micro(const AttendBlock& b, int64_t row, int64_t first_key) {
  using Vec = typename Simd::Vec;
  constexpr int kLanes = Simd::kLanes;
  Vec acc[kKeys * kVecs];
  unrolled<kKeys * kVecs>([&](auto i) __attribute__((always_inline)) { acc[i] = Simd::zero(); });
  const float* q = b.query + row;
  const float* k = b.key + first_key * b.dim;
  for (int64_t d = 0; d < b.dim; d += kLanes, k += kLanes) {
    Vec key[kKeys];
    unrolled<kKeys>([&](auto j)
                        __attribute__((always_inline)) { key[j] = Simd::load(k + j * b.dim); });
    unrolled<kLanes>([&](auto lane) __attribute__((always_inline)) {
      unrolled<kVecs>([&](auto v) __attribute__((always_inline)) {
        const Vec query = Simd::load(q + v * kLanes);
        unrolled<kKeys>([&](auto j) __attribute__((always_inline)) {
          acc[j * kVecs + v] = Simd::template fma_lane<lane>(query, key[j], acc[j * kVecs + v]);
        });
      });
      q += b.rows;
    });
  }
  float* out = b.logits + first_key * b.rows + row;
  unrolled<kKeys * kVecs>([&](auto i) __attribute__((always_inline)) {
    Simd::store(out + i / kVecs * b.rows + i % kVecs * kLanes, acc[i]);
  });
}

template <typename Simd, int kVecs, int kKeys>
void lane_logits_rows(const AttendBlock& b, int64_t row) {
  // The last step may run into the zero padding of the keys.
  for (int64_t j = 0; j < b.keys; j += kKeys) lane_logits_micro<Simd, kVecs, kKeys>(b, row, j);
}

/// 16 accumulators wherever there are rows enough.
template <typename Simd>
void lane_tile_logits(const AttendBlock& b) {
  static_assert(kAttendKeyPadding % 8 == 0);
  constexpr int64_t kLanes = Simd::kLanes;
  int64_t row = 0;
  for (; row + 4 * kLanes <= b.rows; row += 4 * kLanes) lane_logits_rows<Simd, 4, 4>(b, row);
  for (; row + 2 * kLanes <= b.rows; row += 2 * kLanes) lane_logits_rows<Simd, 2, 8>(b, row);
  for (; row < b.rows; row += kLanes) lane_logits_rows<Simd, 1, 8>(b, row);
}

/// acc[r][v] += weights[r] · value[v] for kVecs vectors and kLanes rows.
template <typename Simd, int kVecs>
[[gnu::always_inline]] inline void add_weighted(const float* weights, const float* value,
                                                typename Simd::Vec* acc) {
  using Vec = typename Simd::Vec;
  const Vec p = Simd::load(weights);
  unrolled<kVecs>([&](auto v) __attribute__((always_inline)) {
    const Vec x = Simd::load(value + v * Simd::kLanes);
    unrolled<Simd::kLanes>([&](auto r) __attribute__((always_inline)) {
      acc[r * kVecs + v] = Simd::template fma_lane<r>(x, p, acc[r * kVecs + v]);
    });
  });
}

/// out[r][d] += Σ_j logits[j][r] · value[j][d] for kLanes rows and kVecs vectors of d.
template <typename Simd, int kVecs>
void lane_output_micro(const AttendBlock& b, int64_t row, int64_t d) {
  using Vec = typename Simd::Vec;
  constexpr int kAcc = Simd::kLanes * kVecs;
  Vec acc[kAcc];
  float* out = b.out + row * b.value_dim + d;
  unrolled<kAcc>([&](auto i) __attribute__((always_inline)) {
    acc[i] = Simd::load(out + i / kVecs * b.value_dim + i % kVecs * Simd::kLanes);
  });
  const float* p = b.logits + row;
  const float* value = b.value + d;
  int64_t j = 0;
  for (; j + 2 <= b.keys; j += 2, p += 2 * b.rows, value += 2 * b.value_dim) {
    add_weighted<Simd, kVecs>(p, value, acc);
    add_weighted<Simd, kVecs>(p + b.rows, value + b.value_dim, acc);
  }
  if (j < b.keys) add_weighted<Simd, kVecs>(p, value, acc);
  unrolled<kAcc>([&](auto i) __attribute__((always_inline)) {
    Simd::store(out + i / kVecs * b.value_dim + i % kVecs * Simd::kLanes, acc[i]);
  });
}

template <typename Simd>
void lane_tile_output(const AttendBlock& b) {
  constexpr int kVecs = 16 / Simd::kLanes;  // value_dim is a multiple of 16
  for (int64_t d = 0; d < b.value_dim; d += 16) {
    for (int64_t row = 0; row < b.rows; row += Simd::kLanes) {
      lane_output_micro<Simd, kVecs>(b, row, d);
    }
  }
}

}  // namespace shadowattn
