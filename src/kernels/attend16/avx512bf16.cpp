// Lanes run over keys in Q·Kᵀ (so any number of rows works and nothing is padded) and over the
// value's elements in P·V. Keys are transposed while they are packed:
//
//   key    [dim/2][64] words: elements d, d+1 of 64 keys, one vpdpwssd per 16 keys and row
//   value  [32][dim]   words: element d of keys 2i, 2i+1, one vdpbf16ps per 16 elements and row
//
// A group of up to six rows keeps its 6 × 64 logits in registers: scores never leave the core.
#include <iterator>

#include "kernels/attend/exp_impl.h"
#include "kernels/attend16/avx512_pack.h"
#include "kernels/attend16/visible_rows.h"
#include "kernels/simd/avx512.h"
#include "kernels/simd/avx512_dot.h"
#include "kernels/simd/unroll.h"

namespace shadowattn {
namespace {

using simd::Avx512;

constexpr int kVecs = static_cast<int>(kAttendBlock / 16);
constexpr int kGroup = 6;  // 6 rows × 4 vectors of accumulators, 4 of keys, one broadcast
constexpr float kHidden = -std::numeric_limits<float>::infinity();

/// 2^x for x ≤ 127: x = n + r, |r| ≤ 1/2, the minimax polynomial of degree 4 of 2^r (relative error
/// below 2.71e-6, over every float, roundings included), times 2^n. Zero far below; NaN stays NaN.
inline __m512 exp2_fast(__m512 x) {
  const __m512 clamped = _mm512_max_ps(_mm512_set1_ps(-160.0F), x);  // NaN in x stays
  const __m512 n = _mm512_roundscale_ps(clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 r = _mm512_sub_ps(clamped, n);
  __m512 p = _mm512_set1_ps(0.009570102207362652F);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.05591785907745361F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.240247443318367F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.6931217908859253F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.9999992847442627F));
  return _mm512_scalef_ps(p, n);
}

inline int32_t load_word(const void* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

inline __m512bh as_bf16(__m512i v) { return reinterpret_cast<__m512bh>(v); }

/// Soft-cap, bias and range of one vector of logits of row r; `vec` counts from the block's start.
inline __m512 adjust(const Attend16Block& b, int64_t r, int vec, __m512 s) {
  if (b.logit_softcap != 0.0F) {
    const __m512 cap = _mm512_set1_ps(b.logit_softcap);
    s = _mm512_mul_ps(cap, vector_tanh<Avx512>(_mm512_div_ps(s, cap)));
  }
  const __m512 hidden = _mm512_set1_ps(kHidden);
  if (b.bias != nullptr) {
    const __m512 bias = _mm512_loadu_ps(b.bias + r * kAttendBlock + vec * 16);
    s = Avx512::select_equal(bias, hidden, hidden, _mm512_add_ps(s, bias));
  }
  const auto seen = static_cast<__mmask16>(seen_keys(b, r) >> (vec * 16));
  return _mm512_mask_blend_ps(seen, hidden, s);
}

/// Raises the reference of row r to `maximum` and rescales what it has summed so far.
inline void raise_reference(const Attend16Block& b, int64_t r, float maximum) {
  const float old = b.max[r];
  b.max[r] = maximum;
  if (old == kHidden) return;  // nothing summed yet
  const __m512 factor = exp2_fast(_mm512_set1_ps(old - maximum));
  float* sum = b.sum + r * kAttend16Lanes;
  _mm512_storeu_ps(sum, _mm512_mul_ps(_mm512_loadu_ps(sum), factor));
  float* out = b.out + r * b.value_dim;
  for (int64_t d = 0; d < b.value_dim; d += 16) {
    _mm512_storeu_ps(out + d, _mm512_mul_ps(_mm512_loadu_ps(out + d), factor));
  }
}

/// Logits of one row to weights.
inline void weigh_row(const Attend16Block& b, int64_t r, bool plain, const __m512i* acc,
                      uint16_t* weights) {
  const __m512 step = _mm512_set1_ps(b.query_step[r]);
  __m512 s[kVecs];
  for (int v = 0; v < kVecs; ++v) {
    const __m512 key_step = _mm512_loadu_ps(b.key_step + v * 16);
    s[v] = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[v]), key_step), step);
  }
  if (!plain) {
    for (int v = 0; v < kVecs; ++v) s[v] = adjust(b, r, v, s[v]);
  }
  const __m512 largest = _mm512_max_ps(_mm512_max_ps(s[0], s[1]), _mm512_max_ps(s[2], s[3]));
  const __m512 limit = _mm512_set1_ps(b.max[r] + kAttend16Slack);
  if (_mm512_cmp_ps_mask(largest, limit, _CMP_GT_OQ) != 0) {
    raise_reference(b, r, _mm512_reduce_max_ps(largest));
  }
  const __m512 reference = _mm512_set1_ps(b.max[r] == kHidden ? 0.0F : b.max[r]);
  __m512 p[kVecs];
  for (int v = 0; v < kVecs; ++v) p[v] = exp2_fast(_mm512_sub_ps(s[v], reference));
  __m512 sum = _mm512_loadu_ps(b.sum + r * kAttend16Lanes);
  const __m512bh ones = as_bf16(_mm512_set1_epi16(0x3F80));
  for (int v = 0; v < kVecs; v += 2) {
    const __m512bh rounded = _mm512_cvtne2ps_pbh(p[v + 1], p[v]);
    sum = _mm512_dpbf16_ps(sum, rounded, ones);
    _mm512_storeu_si512(weights + v * 16, reinterpret_cast<__m512i>(rounded));
  }
  _mm512_storeu_ps(b.sum + r * kAttend16Lanes, sum);
}

template <int kRows>
void weigh_rows(const Attend16Block& b, int64_t row) {
  __m512i acc[kRows][kVecs];
  unrolled<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
    acc[i / kVecs][i % kVecs] = _mm512_setzero_si512();
  });
  const int16_t* q = b.query + row * b.dim;
  const int32_t* k = b.key;
  for (int64_t d = 0; d < b.dim; d += 2, k += kAttendBlock) {
    __m512i key[kVecs];
    unrolled<kVecs>([&](auto v) __attribute__((always_inline)) {
      key[v] = _mm512_loadu_si512(k + v * 16);
    });
    unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
      const __m512i word = _mm512_set1_epi32(load_word(q + r * b.dim + d));
      unrolled<kVecs>([&](auto v)
                          __attribute__((always_inline)) { dot_words(acc[r][v], key[v], word); });
    });
  }
  __m512i sums[kRows][kVecs];
  unrolled<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
    sums[i / kVecs][i % kVecs] = acc[i / kVecs][i % kVecs];
  });
  const bool plain = is_plain(b, row, kRows);
  for (int r = 0; r < kRows; ++r) {
    weigh_row(b, row + r, plain, sums[r], b.weights + r * kAttendBlock);
  }
}

/// out[r][d …] += Σ_j p[j] · v[j][d …], kWide vectors of d.
template <int kRows, int kWide>
void add_values(const Attend16Block& b, int64_t row, int64_t d) {
  __m512 acc[kRows][kWide];
  float* out = b.out + row * b.value_dim + d;
  unrolled<kRows * kWide>([&](auto i) __attribute__((always_inline)) {
    acc[i / kWide][i % kWide] = _mm512_loadu_ps(out + i / kWide * b.value_dim + i % kWide * 16);
  });
  const int32_t* value = b.value + d;
  for (int64_t j = 0; j < b.keys; j += 2, value += b.value_dim) {
    __m512bh x[kWide];
    unrolled<kWide>([&](auto v) __attribute__((always_inline)) {
      x[v] = as_bf16(_mm512_loadu_si512(value + v * 16));
    });
    unrolled<kRows>([&](auto r) __attribute__((always_inline)) {
      const __m512bh p = as_bf16(_mm512_set1_epi32(load_word(b.weights + r * kAttendBlock + j)));
      unrolled<kWide>([&](auto v) __attribute__((always_inline)) {
        acc[r][v] = _mm512_dpbf16_ps(acc[r][v], p, x[v]);
      });
    });
  }
  unrolled<kRows * kWide>([&](auto i) __attribute__((always_inline)) {
    _mm512_storeu_ps(out + i / kWide * b.value_dim + i % kWide * 16, acc[i / kWide][i % kWide]);
  });
}

template <int kRows>
void attend_rows(const Attend16Block& b, int64_t row) {
  if (sees_nothing(b, row, kRows)) return;
  weigh_rows<kRows>(b, row);
  int64_t d = 0;
  for (; d + 64 <= b.value_dim; d += 64) add_values<kRows, 4>(b, row, d);
  for (; d < b.value_dim; d += 16) add_values<kRows, 1>(b, row, d);
}

/// Rows of the next group: sixes, and the last dozen in two even parts.
inline int64_t group_rows(int64_t left) {
  if (left >= 2 * kGroup) return kGroup;
  return left > kGroup ? (left + 1) / 2 : left;
}

}  // namespace

bool attend16_pack_query_avx512bf16(const float* q, int64_t dim, float factor, int16_t* packed,
                                    float* step) {
  return pack_query16(q, dim, factor, packed, step);
}

bool attend16_pack_keys_avx512bf16(const RowSource& source, const int32_t* index, int64_t first,
                                   int64_t count, int64_t dim, int32_t* packed, float* step) {
  const PackRows rows{source, index, first, count};
  switch (source.type) {
    case ElementType::kQ8_0:
      return pack_keys16<Q8Elements>(rows, dim, packed, step);
    case ElementType::kF16:
      return pack_keys16<HalfElements>(rows, dim, packed, step);
    case ElementType::kF32:
      break;
  }
  return pack_keys16<FloatElements>(rows, dim, packed, step);
}

void attend16_pack_values_avx512bf16(const RowSource& source, const int32_t* index, int64_t first,
                                     int64_t count, int64_t dim, int32_t* packed) {
  const PackRows rows{source, index, first, count};
  switch (source.type) {
    case ElementType::kQ8_0:
      return pack_values16<Q8Elements>(rows, dim, packed);
    case ElementType::kF16:
      return pack_values16<HalfElements>(rows, dim, packed);
    case ElementType::kF32:
      break;
  }
  return pack_values16<FloatElements>(rows, dim, packed);
}

int16_t attend16_key_element_avx512bf16(const int32_t* packed, int64_t /*dim*/, int64_t key,
                                        int64_t d) {
  const auto word = static_cast<uint32_t>(packed[d / 2 * kAttendBlock + key]);
  return static_cast<int16_t>(d % 2 == 0 ? word & 0xFFFFU : word >> 16);
}

uint16_t attend16_value_element_avx512bf16(const int32_t* packed, int64_t dim, int64_t key,
                                           int64_t d) {
  const auto word = static_cast<uint32_t>(packed[key / 2 * dim + d]);
  return static_cast<uint16_t>(key % 2 == 0 ? word & 0xFFFFU : word >> 16);
}

void attend16_block_avx512bf16(const Attend16Block& b) {
  static constexpr void (*kAttendRows[])(const Attend16Block&, int64_t) = {
      attend_rows<1>, attend_rows<2>, attend_rows<3>,
      attend_rows<4>, attend_rows<5>, attend_rows<6>};
  static_assert(std::size(kAttendRows) == kGroup);
  for (int64_t row = 0; row < b.rows;) {
    const int64_t count = group_rows(b.rows - row);
    kAttendRows[count - 1](b, row);
    row += count;
  }
}

}  // namespace shadowattn
