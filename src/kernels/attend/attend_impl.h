// The one body of `tile_block` and `gather`, over a SIMD struct of kernels/simd/.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/attend/attend.h"
#include "kernels/attend/exp_impl.h"
#include "kernels/attend/lane_tile_impl.h"
#include "kernels/simd/load_row.h"

namespace shadowattn {

inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

[[gnu::always_inline]] inline const char* source_row(const RowSource& source, int64_t row) {
  return static_cast<const char*>(source.data) + row * source.stride;
}

/// Scattered rows are beyond the hardware's prefetcher: without this every row costs a wait for the
/// next cache level.
[[gnu::always_inline]] inline void prefetch_row(const RowSource& source, int64_t row, int64_t dim) {
  constexpr int64_t kLine = 64;
  const int64_t bytes = row_bytes(source.type, dim);
  const char* data = source_row(source, row);
  for (int64_t i = 0; i < bytes; i += kLine) __builtin_prefetch(data + i);
}

template <typename Simd, ElementType kType>
bool gather_typed(const RowSource& source, const int32_t* index, int64_t first, int64_t count,
                  int64_t dim, float* out) {
  using Block = ElementBlock<Simd, kType>;
  typename Simd::Vec products = Simd::zero();  // x · 0 is NaN exactly for x infinite or NaN
  constexpr int64_t kAhead = 8;  // rows: some 100 cycles of copying, a wait for the third level
  for (int64_t j = 0; j < count; ++j, out += dim) {
    if (index != nullptr && j + kAhead < count) prefetch_row(source, index[j + kAhead], dim);
    const int64_t row = index != nullptr ? index[j] : first + j;
    const char* x = source_row(source, row);
    for (int64_t d = 0; d < dim; d += Block::kElements) {
      const Block block(x, d);
      for (int i = 0; i < Block::kVecs; ++i) {
        const typename Simd::Vec v = block.vec(i);
        products = Simd::fma(v, Simd::zero(), products);
        Simd::store(out + d + i * Simd::kLanes, v);
      }
    }
  }
  for (int64_t j = count; j % kAttendKeyPadding != 0; ++j, out += dim) {
    for (int64_t d = 0; d < dim; d += Simd::kLanes) Simd::store(out + d, Simd::zero());
  }
  return !Simd::any_nonfinite(products);
}

template <typename Simd>
bool gather_rows(const RowSource& source, const int32_t* index, int64_t first, int64_t count,
                 int64_t dim, float* out) {
  return with_element_type(
      source.type, [&](auto type) __attribute__((always_inline)) {
        return gather_typed<Simd, type.kType>(source, index, first, count, dim, out);
      });
}

/// logits[j][r] = Σ_d key[j][d] · query[d][r] for kVecs vectors of rows and kKeys keys.
template <typename Simd, int kVecs, int kKeys>
void logits_micro(const AttendBlock& b, int64_t row, int64_t first_key) {
  using Vec = typename Simd::Vec;
  Vec acc[kKeys][kVecs];
  for (auto& vecs : acc) {
    for (Vec& v : vecs) v = Simd::zero();
  }
  const float* q = b.query + row;
  const float* k = b.key + first_key * b.dim;
  for (int64_t d = 0; d < b.dim; ++d, q += b.rows) {
    Vec query[kVecs];
    for (int v = 0; v < kVecs; ++v) query[v] = Simd::load(q + v * Simd::kLanes);
    for (int j = 0; j < kKeys; ++j) {
      const Vec key = Simd::set1(k[j * b.dim + d]);
      for (int v = 0; v < kVecs; ++v) acc[j][v] = Simd::fma(key, query[v], acc[j][v]);
    }
  }
  for (int j = 0; j < kKeys; ++j) {
    float* out = b.logits + (first_key + j) * b.rows + row;
    for (int v = 0; v < kVecs; ++v) Simd::store(out + v * Simd::kLanes, acc[j][v]);
  }
}

template <typename Simd, int kVecs, int kKeys>
void logits_rows(const AttendBlock& b, int64_t row) {
  // The last step may run into the zero padding of the keys.
  for (int64_t j = 0; j < b.keys; j += kKeys) logits_micro<Simd, kVecs, kKeys>(b, row, j);
}

template <typename Simd>
void tile_logits(const AttendBlock& b) {
  static_assert(kAttendKeyPadding % 4 == 0 && kAttendBlock % 8 == 0);
  constexpr int kVecs = Simd::kAccumulators / 4;  // 4 keys at a time
  constexpr int64_t kStep = static_cast<int64_t>(kVecs) * Simd::kLanes;
  int64_t row = 0;
  for (; row + kStep <= b.rows; row += kStep) logits_rows<Simd, kVecs, 4>(b, row);
  if constexpr (kVecs > 2) {
    for (; row + 2 * Simd::kLanes <= b.rows; row += 2 * Simd::kLanes) {
      logits_rows<Simd, 2, 4>(b, row);
    }
  }
  for (; row < b.rows; row += Simd::kLanes) logits_rows<Simd, 1, 8>(b, row);
}

/// Whether row `row` sees key j of the block.
inline bool sees_key(const AttendBlock& b, int64_t row, int64_t j) {
  if (b.bias != nullptr && b.bias[j * b.rows + row] == kMinusInfinity) return false;
  return b.visible == nullptr || (b.visible[j / 32 * b.rows + row] >> (j % 32) & 1U) != 0;
}

/// Replaces, not adds: a hidden logit may be NaN.
template <typename Simd>
void hide_logits(const AttendBlock& b) {
  const typename Simd::Vec hidden = Simd::set1(kMinusInfinity);
  for (int64_t j = 0; j < b.keys; ++j) {
    const uint32_t* words = b.visible + j / 32 * b.rows;
    float* s = b.logits + j * b.rows;
    for (int64_t row = 0; row < b.rows; row += Simd::kLanes) {
      Simd::store(s + row, Simd::select_bit(words + row, static_cast<int>(j % 32),
                                            Simd::load(s + row), hidden));
    }
  }
}

/// Soft-cap and bias, in place.
template <typename Simd>
void adjust_logits(const AttendBlock& b) {
  using Vec = typename Simd::Vec;
  const Vec hidden = Simd::set1(kMinusInfinity);
  for (int64_t i = 0; i < b.keys * b.rows; i += Simd::kLanes) {
    Vec s = Simd::load(b.logits + i);
    if (b.logit_softcap != 0.0F) {
      const Vec cap = Simd::set1(b.logit_softcap);
      s = Simd::mul(cap, vector_tanh<Simd>(Simd::div(s, cap)));
    }
    if (b.bias != nullptr) {
      // Replace, not add: a hidden logit may be NaN.
      const Vec bias = Simd::load(b.bias + i);
      s = Simd::select_equal(bias, hidden, hidden, Simd::add(s, bias));
    }
    Simd::store(b.logits + i, s);
  }
}

/// Turns logits into weights, updates max and sum, and rescales the outputs whose maximum rose.
template <typename Simd>
void tile_softmax(const AttendBlock& b) {
  using Vec = typename Simd::Vec;
  const Vec hidden = Simd::set1(kMinusInfinity);
  for (int64_t row = 0; row < b.rows; row += Simd::kLanes) {
    float* s = b.logits + row;
    const Vec old_max = Simd::load(b.max + row);
    Vec new_max = old_max;
    for (int64_t j = 0; j < b.keys; ++j) new_max = Simd::max(new_max, Simd::load(s + j * b.rows));
    // A row that has seen nothing yet: any finite reference gives exp(-inf - 0) = 0.
    const Vec reference = Simd::select_equal(new_max, hidden, Simd::zero(), new_max);
    Vec sum = Simd::zero();
    for (int64_t j = 0; j < b.keys; ++j) {
      const Vec p = vector_exp<Simd>(Simd::sub(Simd::load(s + j * b.rows), reference));
      sum = Simd::add(sum, p);
      Simd::store(s + j * b.rows, p);
    }
    Simd::store(b.max + row, new_max);
    const Vec rescale = vector_exp<Simd>(Simd::sub(old_max, reference));
    Simd::store(b.sum + row, Simd::fma(Simd::load(b.sum + row), rescale, sum));
    if (!Simd::any_different(rescale, Simd::set1(1.0F))) continue;
    float factor[Simd::kLanes];
    Simd::store(factor, rescale);
    for (int lane = 0; lane < Simd::kLanes; ++lane) {
      if (factor[lane] == 1.0F) continue;
      float* out = b.out + (row + lane) * b.value_dim;
      const Vec f = Simd::set1(factor[lane]);
      for (int64_t d = 0; d < b.value_dim; d += Simd::kLanes) {
        Simd::store(out + d, Simd::mul(Simd::load(out + d), f));
      }
    }
  }
}

/// out[r][d] += Σ_j logits[j][r] · value[j][d] for kRows rows and kVecs vectors of d.
template <typename Simd, int kRows, int kVecs>
void output_micro(const AttendBlock& b, int64_t row, int64_t d) {
  using Vec = typename Simd::Vec;
  Vec acc[kRows][kVecs];
  float* out = b.out + row * b.value_dim + d;
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) {
      acc[r][v] = Simd::load(out + r * b.value_dim + v * Simd::kLanes);
    }
  }
  const float* p = b.logits + row;
  const float* value = b.value + d;
  for (int64_t j = 0; j < b.keys; ++j, p += b.rows, value += b.value_dim) {
    Vec x[kVecs];
    for (int v = 0; v < kVecs; ++v) x[v] = Simd::load(value + v * Simd::kLanes);
    for (int r = 0; r < kRows; ++r) {
      const Vec weight = Simd::set1(p[r]);
      for (int v = 0; v < kVecs; ++v) acc[r][v] = Simd::fma(weight, x[v], acc[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) {
      Simd::store(out + r * b.value_dim + v * Simd::kLanes, acc[r][v]);
    }
  }
}

template <typename Simd>
void tile_output(const AttendBlock& b) {
  // value_dim is a multiple of 16: one vector of 16 lanes, or two of 8.
  constexpr int kNarrow = 16 / Simd::kLanes;
  constexpr int kWide = 2 * kNarrow;
  constexpr int kRows = Simd::kAccumulators / 2 / kWide;  // 16 accumulator rows × vectors at most
  int64_t d = 0;
  if constexpr (kRows >= 4) {
    for (; d + 32 <= b.value_dim; d += 32) {
      for (int64_t row = 0; row < b.rows; row += 4) output_micro<Simd, 4, kWide>(b, row, d);
    }
  }
  for (; d < b.value_dim; d += 16) {
    for (int64_t row = 0; row < b.rows; row += 4) output_micro<Simd, 4, kNarrow>(b, row, d);
  }
}

/// As tile_output, but a weight of zero leaves the output alone: NaN · 0 would be NaN.
template <typename Simd>
void tile_output_careful(const AttendBlock& b) {
  for (int64_t j = 0; j < b.keys; ++j) {
    const float* value = b.value + j * b.value_dim;
    for (int64_t row = 0; row < b.rows; ++row) {
      const float weight = b.logits[j * b.rows + row];
      if (!sees_key(b, row, j)) continue;
      float* out = b.out + row * b.value_dim;
      const typename Simd::Vec w = Simd::set1(weight);
      for (int64_t d = 0; d < b.value_dim; d += Simd::kLanes) {
        Simd::store(out + d, Simd::fma(w, Simd::load(value + d), Simd::load(out + d)));
      }
    }
  }
}

template <typename Simd>
void attend_add_output(const AttendBlock& b) {
  if constexpr (kMultipliesByLane<Simd>) {
    lane_tile_output<Simd>(b);
  } else {
    tile_output<Simd>(b);
  }
}

template <typename Simd>
void attend_tile_block(const AttendBlock& b) {
  if constexpr (kMultipliesByLane<Simd>) {
    lane_tile_logits<Simd>(b);
  } else {
    tile_logits<Simd>(b);
  }
  if (b.bias != nullptr || b.logit_softcap != 0.0F) adjust_logits<Simd>(b);
  if (b.visible != nullptr) hide_logits<Simd>(b);
  tile_softmax<Simd>(b);
  if (b.values_finite) {
    attend_add_output<Simd>(b);
  } else {
    tile_output_careful<Simd>(b);
  }
}

}  // namespace shadowattn
