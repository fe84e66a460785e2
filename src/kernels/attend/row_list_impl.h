// The one body of `row_list`, over a SIMD struct of kernels/simd/: a single query row over up to
// kAttendBlock keys, read where they lie. Lanes run over the head dim.
#pragma once

#include "kernels/attend/attend_impl.h"

namespace shadowattn {

template <typename Element>
const Element* source_row(const RowSource& source, int64_t row) {
  return reinterpret_cast<const Element*>(static_cast<const char*>(source.data) +
                                          row * source.stride);
}

/// logits of four keys at once: the query vector is loaded once for the four.
template <typename Simd, typename Element>
void row_logits(const AttendRow& a, float* logits) {
  using Vec = typename Simd::Vec;
  int64_t j = 0;
  for (; j + 4 <= a.keys; j += 4) {
    const Element* k[4];
    for (int i = 0; i < 4; ++i) k[i] = source_row<Element>(a.key, a.index[j + i]);
    Vec acc[4] = {Simd::zero(), Simd::zero(), Simd::zero(), Simd::zero()};
    for (int64_t d = 0; d < a.dim; d += Simd::kLanes) {
      const Vec q = Simd::load(a.query + d);
      for (int i = 0; i < 4; ++i) acc[i] = Simd::fma(q, load_elements<Simd>(k[i] + d), acc[i]);
    }
    for (int i = 0; i < 4; ++i) logits[j + i] = Simd::reduce_add(acc[i]);
  }
  for (; j < a.keys; ++j) {
    const Element* k = source_row<Element>(a.key, a.index[j]);
    Vec acc = Simd::zero();
    for (int64_t d = 0; d < a.dim; d += Simd::kLanes) {
      acc = Simd::fma(Simd::load(a.query + d), load_elements<Simd>(k + d), acc);
    }
    logits[j] = Simd::reduce_add(acc);
  }
}

/// out[d] = out[d] · rescale + Σ_j weights[j] · v[index[j]][d], kVecs vectors of d at a time.
template <typename Simd, typename Element, int kVecs>
void row_output(const AttendRow& a, const float* weights, float rescale, int64_t d) {
  using Vec = typename Simd::Vec;
  Vec acc[kVecs];
  for (int v = 0; v < kVecs; ++v) {
    acc[v] = Simd::mul(Simd::load(a.out + d + v * Simd::kLanes), Simd::set1(rescale));
  }
  for (int64_t j = 0; j < a.keys; ++j) {
    if (a.bias != nullptr && a.bias[j] == kMinusInfinity) continue;  // 0 · NaN would be NaN
    const Element* value = source_row<Element>(a.value, a.index[j]) + d;
    const Vec weight = Simd::set1(weights[j]);
    for (int v = 0; v < kVecs; ++v) {
      acc[v] = Simd::fma(weight, load_elements<Simd>(value + v * Simd::kLanes), acc[v]);
    }
  }
  for (int v = 0; v < kVecs; ++v) Simd::store(a.out + d + v * Simd::kLanes, acc[v]);
}

template <typename Simd, typename Value>
void row_outputs(const AttendRow& a, const float* weights, float rescale) {
  constexpr int kNarrow = 16 / Simd::kLanes;
  constexpr int kWide = 4 * kNarrow;  // 64 elements
  int64_t d = 0;
  for (; d + 64 <= a.value_dim; d += 64) row_output<Simd, Value, kWide>(a, weights, rescale, d);
  for (; d < a.value_dim; d += 16) row_output<Simd, Value, kNarrow>(a, weights, rescale, d);
}

template <typename Simd>
void attend_row_list(const AttendRow& a) {
  using Vec = typename Simd::Vec;
  float logits[kAttendBlock];
  if (a.key.type == ElementType::kF16) {
    row_logits<Simd, uint16_t>(a, logits);
  } else {
    row_logits<Simd, float>(a, logits);
  }
  // The row as a tile of one row: logits [keys], padded with hidden keys to whole vectors.
  int64_t padded = a.keys;
  for (; padded % Simd::kLanes != 0; ++padded) logits[padded] = kMinusInfinity;
  const Vec hidden = Simd::set1(kMinusInfinity);
  float bias[kAttendBlock];
  if (a.bias != nullptr) {
    for (int64_t j = 0; j < padded; ++j) bias[j] = j < a.keys ? a.bias[j] : kMinusInfinity;
  }
  float largest = *a.max;
  for (int64_t j = 0; j < padded; j += Simd::kLanes) {
    Vec s = Simd::load(logits + j);
    if (a.logit_softcap != 0.0F) {
      const Vec cap = Simd::set1(a.logit_softcap);
      s = Simd::mul(cap, vector_tanh<Simd>(Simd::div(s, cap)));
    }
    if (a.bias != nullptr) {
      const Vec b = Simd::load(bias + j);
      s = Simd::select_equal(b, hidden, hidden, Simd::add(s, b));
    }
    Simd::store(logits + j, s);
  }
  for (int64_t j = a.keys; j < padded; ++j) logits[j] = kMinusInfinity;  // again, after the cap
  for (int64_t j = 0; j < a.keys; ++j) largest = logits[j] > largest ? logits[j] : largest;
  const float reference = largest == kMinusInfinity ? 0.0F : largest;
  Vec sum = Simd::zero();
  for (int64_t j = 0; j < padded; j += Simd::kLanes) {
    const Vec p = vector_exp<Simd>(Simd::sub(Simd::load(logits + j), Simd::set1(reference)));
    sum = Simd::add(sum, p);
    Simd::store(logits + j, p);
  }
  float rescale[Simd::kLanes];
  Simd::store(rescale, vector_exp<Simd>(Simd::set1(*a.max - reference)));
  *a.sum = *a.sum * rescale[0] + Simd::reduce_add(sum);
  *a.max = largest;
  if (a.value.type == ElementType::kF16) {
    row_outputs<Simd, uint16_t>(a, logits, rescale[0]);
  } else {
    row_outputs<Simd, float>(a, logits, rescale[0]);
  }
}

}  // namespace shadowattn
