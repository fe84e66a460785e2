// The one body of the `keep` kernels, over a SIMD struct of kernels/simd/.
#pragma once

#include <cstdint>

#include "kernels/attend/attend_impl.h"
#include "kernels/keep/keep.h"

namespace shadowattn {

template <typename Simd>
inline constexpr int kPageVecs = static_cast<int>(kKeepPage) / Simd::kLanes;

/// Shares of the rows in one page to work.share; change[j] without its weight.
template <typename Simd>
void page_shares(const KeepPages& work, int64_t page,
                 typename Simd::Vec (&change)[kPageVecs<Simd>]) {
  using Vec = typename Simd::Vec;
  constexpr int kVecs = kPageVecs<Simd>;
  unrolled<kVecs>([&](auto v) __attribute__((always_inline)) { change[v] = Simd::zero(); });
  const uint16_t* half = work.half + page * kKeepPage;
  float* share = work.share;
  for (int64_t r = 0; r < work.rows; ++r) {
    const Vec factor = Simd::set1(work.factor[r]);
    unrolled<kVecs>([&](auto v) __attribute__((always_inline)) {
      const Vec p = Simd::mul(Simd::load_upper(half + v * Simd::kLanes), factor);
      change[v] = Simd::fma(p, p, change[v]);
      Simd::store(share + v * Simd::kLanes, p);
    });
    half += work.stride;
    share += kKeepPage;
  }
}

/// dropped[r] = Σ_j share[r][j] · factor[j], kLanes rows at a time.
template <typename Simd>
void sum_dropped(const KeepPages& work, const float* factor, float* dropped) {
  using Vec = typename Simd::Vec;
  constexpr int kVecs = kPageVecs<Simd>;
  Vec f[kVecs];
  for (int v = 0; v < kVecs; ++v) f[v] = Simd::load(factor + v * Simd::kLanes);
  const float* share = work.share;
  for (int64_t r = 0; r < work.rows; r += Simd::kLanes) {
    Vec sums[Simd::kLanes];
    for (int i = 0; i < Simd::kLanes; ++i, share += kKeepPage) {
      sums[i] = Simd::mul(Simd::load(share), f[0]);
      for (int v = 1; v < kVecs; ++v) {
        sums[i] = Simd::fma(Simd::load(share + v * Simd::kLanes), f[v], sums[i]);
      }
    }
    Simd::store(dropped + r, Simd::reduce_each(sums));
  }
}

template <typename Simd>
double keep_page(const KeepPages& work, int64_t page) {
  using Vec = typename Simd::Vec;
  constexpr int kVecs = kPageVecs<Simd>;
  Vec change[kVecs];
  page_shares<Simd>(work, page, change);
  uint32_t kept = 0;
  for (int v = 0; v < kVecs; ++v) {
    const Vec weight = Simd::load(work.weight + page * kKeepPage + v * Simd::kLanes);
    change[v] = Simd::mul(change[v], weight);
    kept |= Simd::mask_less(Simd::set1(work.threshold), change[v]) << (v * Simd::kLanes);
  }
  const uint32_t seen = work.seen[page];
  kept = (kept | work.forced[page]) & seen;
  work.kept[page] = static_cast<uint16_t>(kept);
  float* dropped = work.dropped + page * work.rows;
  if (kept == seen) {
    for (int64_t r = 0; r < work.rows; ++r) dropped[r] = 0.0F;
    return 0.0;
  }
  alignas(64) float factor[kKeepPage];
  for (int j = 0; j < kKeepPage; ++j) factor[j] = ((seen & ~kept) >> j & 1U) != 0 ? 1.0F : 0.0F;
  sum_dropped<Simd>(work, factor, dropped);
  Vec lost = Simd::zero();
  for (int v = 0; v < kVecs; ++v) {
    lost = Simd::fma(change[v], Simd::load(factor + v * Simd::kLanes), lost);
  }
  return Simd::reduce_add(lost);
}

template <typename Simd>
double keep_pages(const KeepPages& work) {
  double lost = 0.0;
  for (int64_t page = 0; page < work.pages; ++page) {
    lost += keep_page<Simd>(work, page);
  }
  return lost;
}

template <typename Simd, ElementType kType>
void page_values(const RowSource& source, int64_t first, int64_t count, int64_t dim, float* mean,
                 float* weight) {
  using Vec = typename Simd::Vec;
  using Block = ElementBlock<Simd, kType>;
  const Vec factor = Simd::set1(1.0F / static_cast<float>(count));
  Vec away[kKeepPage];
  for (Vec& a : away) a = Simd::zero();
  for (int64_t d = 0; d < dim; d += Block::kElements) {
    Vec x[kKeepPage][Block::kVecs];
    Vec sum[Block::kVecs];
    for (Vec& s : sum) s = Simd::zero();
    for (int64_t j = 0; j < count; ++j) {
      const Block block(source_row(source, first + j), d);
      for (int v = 0; v < Block::kVecs; ++v) {
        x[j][v] = block.vec(v);
        sum[v] = Simd::add(sum[v], x[j][v]);
      }
    }
    for (int v = 0; v < Block::kVecs; ++v) {
      sum[v] = Simd::mul(sum[v], factor);
      Simd::store(mean + d + v * Simd::kLanes, sum[v]);
      for (int64_t j = 0; j < count; ++j) {
        const Vec difference = Simd::sub(x[j][v], sum[v]);
        away[j] = Simd::fma(difference, difference, away[j]);
      }
    }
  }
  bool finite = true;
  for (int64_t j = 0; j < kKeepPage; ++j) {
    weight[j] = j < count ? Simd::reduce_add(away[j]) : 0.0F;
    finite = finite && weight[j] < kKeepAlways;  // not so for NaN
  }
  if (finite) return;
  for (int64_t d = 0; d < dim; ++d) mean[d] = 0.0F;
  for (int64_t j = 0; j < count; ++j) weight[j] = kKeepAlways;
}

template <typename Simd>
void keep_values(const RowSource& source, int64_t first, int64_t pages, int64_t end, int64_t dim,
                 float* mean, float* weight) {
  for (int64_t page = 0; page < pages; ++page) {
    const int64_t begin = first + page * kKeepPage;
    const int64_t count = end - begin < kKeepPage ? end - begin : kKeepPage;
    with_element_type(
        source.type, [&](auto type) __attribute__((always_inline)) {
          page_values<Simd, type.kType>(source, begin, count, dim, mean + page * dim,
                                        weight + page * kKeepPage);
        });
  }
}

}  // namespace shadowattn
