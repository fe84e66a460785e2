// The one body of `row_list`, over a SIMD struct of kernels/simd/: a single query row over up to
// kAttendBlock keys, read where they lie. Lanes run over the head dim.
#pragma once

#include "kernels/attend/attend_impl.h"
#include "kernels/simd/unroll.h"

namespace shadowattn {

/// logits of four keys at once: the query vector is loaded once for the four.
template <typename Simd, ElementType kType>
void row_logits(const AttendRow& a, float* logits) {
  using Vec = typename Simd::Vec;
  using Block = ElementBlock<Simd, kType>;
  int64_t j = 0;
  for (; j + 4 <= a.keys; j += 4) {
    const char* k[4];
    for (int i = 0; i < 4; ++i) k[i] = source_row(a.key, a.index[j + i]);
    Vec acc[4] = {Simd::zero(), Simd::zero(), Simd::zero(), Simd::zero()};
    for (int64_t d = 0; d < a.dim; d += Block::kElements) {
      const Block block[4] = {{k[0], d}, {k[1], d}, {k[2], d}, {k[3], d}};
      for (int v = 0; v < Block::kVecs; ++v) {
        const Vec q = Simd::load(a.query + d + v * Simd::kLanes);
        for (int i = 0; i < 4; ++i) acc[i] = Simd::fma(q, block[i].vec(v), acc[i]);
      }
    }
    for (int i = 0; i < 4; ++i) logits[j + i] = Simd::reduce_add(acc[i]);
  }
  for (; j < a.keys; ++j) {
    const char* k = source_row(a.key, a.index[j]);
    Vec acc = Simd::zero();
    for (int64_t d = 0; d < a.dim; d += Block::kElements) {
      const Block block(k, d);
      for (int v = 0; v < Block::kVecs; ++v) {
        acc = Simd::fma(Simd::load(a.query + d + v * Simd::kLanes), block.vec(v), acc);
      }
    }
    logits[j] = Simd::reduce_add(acc);
  }
}

/// out[d] = out[d] · rescale + Σ_j weights[j] · v[index[j]][d], kVecs vectors of d at a time.
template <typename Simd, ElementType kType, int kVecs>
void row_output(const AttendRow& a, const float* weights, float rescale, int64_t d) {
  using Vec = typename Simd::Vec;
  using Block = ElementBlock<Simd, kType>;
  Vec acc[kVecs];
  unrolled<kVecs>([&](auto v) __attribute__((always_inline)) {
    acc[v] = Simd::mul(Simd::load(a.out + d + v * Simd::kLanes), Simd::set1(rescale));
  });
  for (int64_t j = 0; j < a.keys; ++j) {
    if (a.bias != nullptr && a.bias[j] == kMinusInfinity) continue;  // 0 · NaN would be NaN
    const char* value = source_row(a.value, a.index[j]);
    const Vec weight = Simd::set1(weights[j]);
    unrolled<kVecs / Block::kVecs>([&](auto i) __attribute__((always_inline)) {
      constexpr int kFirst = i * Block::kVecs;
      const Block block(value, d + kFirst * Simd::kLanes);
      unrolled<Block::kVecs>([&](auto v) __attribute__((always_inline)) {
        acc[kFirst + v] = Simd::fma(weight, block.vec(v), acc[kFirst + v]);
      });
    });
  }
  unrolled<kVecs>([&](auto v) __attribute__((always_inline)) {
    Simd::store(a.out + d + v * Simd::kLanes, acc[v]);
  });
}

template <typename Simd, ElementType kType>
void row_outputs(const AttendRow& a, const float* weights, float rescale) {
  constexpr int64_t kStep = kType == ElementType::kQ8_0 ? kQ8BlockElements : 16;
  constexpr int kNarrow = static_cast<int>(kStep) / Simd::kLanes;
  constexpr int kWide = 64 / Simd::kLanes;
  int64_t d = 0;
  for (; d + 64 <= a.value_dim; d += 64) row_output<Simd, kType, kWide>(a, weights, rescale, d);
  for (; d < a.value_dim; d += kStep) row_output<Simd, kType, kNarrow>(a, weights, rescale, d);
}

template <typename Simd>
void attend_row_list(const AttendRow& a) {
  using Vec = typename Simd::Vec;
  float logits[kAttendBlock];
  with_element_type(
      a.key.type, [&](auto type)
                      __attribute__((always_inline)) { row_logits<Simd, type.kType>(a, logits); });
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
  with_element_type(
      a.value.type, [&](auto type) __attribute__((always_inline)) {
        row_outputs<Simd, type.kType>(a, logits, rescale[0]);
      });
}

}  // namespace shadowattn
