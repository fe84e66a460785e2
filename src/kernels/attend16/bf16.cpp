// Matrix instructions work on pairs of rows and of columns: smmla adds to 2 × 2 INT32 sums the
// products of 2 × 8 INT8 elements with 2 × 8 others, bfmmla to 2 × 2 f32 sums those of 2 × 4 BF16.
//
//   key      [16][dim/8][2][low, high][2][8] INT8: eight elements of a pair of keys in a register
//   value    [16][dim][4] BF16: element d of four keys; two neighbouring d are a register
//   query    [dim/8][pair of rows][low, high, both][2][8] INT8, split here for every block
//   weights  [16][pair of rows][2][4] BF16
//
// INT16 operands are split, x = 128 · h + l with l in [-64, 63], and Karatsuba's identity saves one
// of four products:
//
//   Σ x·y = 2^14 · Σ h·h' + 2^7 · (Σ (h+l)·(h'+l') - Σ h·h' - Σ l·l') + Σ l·l'
//
// From dim 32 on |x| ≤ 8191, so |h| ≤ 64; h = 64 leaves l ≤ -1 and h = -64 leaves l ≥ 1, so that
// |h + l| ≤ 127 always: all three are INT8, and each sum is at most dim · 2^14 ≤ 2^22. With dim 16
// (|x| ≤ 11585, |h| ≤ 91) the middle term is summed as it stands. What is shifted may wrap around;
// the result does not overflow, by int16_limit, so it is exact.
#include <arm_neon.h>

#include "kernels/attend/exp_impl.h"
#include "kernels/attend16/neon_pack.h"
#include "kernels/attend16/visible_rows.h"
#include "kernels/simd/neon.h"
#include "kernels/simd/neon_dot.h"
#include "kernels/simd/next_row.h"
#include "kernels/simd/unroll.h"

namespace shadowattn {
namespace {

using simd::Neon;

constexpr int kGroup = 6;  // rows; 3 pairs × 2 pairs of keys × 3 sums: 18 accumulators; 24 spill
constexpr float kHidden = -std::numeric_limits<float>::infinity();

/// 2^x for x ≤ 127: x = n + r, |r| ≤ 1/2, the minimax polynomial of degree 4 of 2^r (relative error
/// below 2.71e-6, over every float, roundings included), times 2^n. Zero below -126.5; NaN stays.
inline float32x4_t exp2_fast(float32x4_t x) {
  const float32x4_t clamped = vmaxq_f32(vdupq_n_f32(-127.0F), x);  // NaN in x stays
  const float32x4_t n = vrndnq_f32(clamped);
  const float32x4_t r = vsubq_f32(clamped, n);
  float32x4_t p = vdupq_n_f32(0.009570102207362652F);
  p = vfmaq_f32(vdupq_n_f32(0.05591785907745361F), p, r);
  p = vfmaq_f32(vdupq_n_f32(0.240247443318367F), p, r);
  p = vfmaq_f32(vdupq_n_f32(0.6931217908859253F), p, r);
  p = vfmaq_f32(vdupq_n_f32(0.9999992847442627F), p, r);
  return vmulq_f32(p, Neon::exp2_int(n));
}

/// Groups of four keys that are worked on: an even number, for loops take two.
inline int64_t quads(const Attend16Block& b) { return (b.keys + 7) / 8 * 2; }

/// The query of kPairs pairs of rows as three planes of INT8. A row that is missing is zero.
template <int kPairs>
void split_query(const Attend16Block& b, int64_t row, int64_t rows, int8_t* planes) {
  for (int64_t d = 0; d < b.dim; d += 8) {
    for (int64_t r = 0; r < 2 * kPairs; r += 2, planes += 48) {
      const int16_t* q = b.query + (row + r) * b.dim + d;
      const int16x8_t second = r + 1 < rows ? vld1q_s16(q + b.dim) : vdupq_n_s16(0);
      const SplitPair x = split_pair(vld1q_s16(q), second);
      vst1q_s8(planes, x.low);
      vst1q_s8(planes + 16, x.high);
      vst1q_s8(planes + 32, vaddq_s8(x.low, x.high));
    }
  }
}

/// Three sums of products of a pair of rows with a pair of keys.
struct PairSums {
  int32x4_t low;
  int32x4_t high;
  int32x4_t middle;
};

inline PairSums no_sums() { return {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}; }

/// Eight elements of a pair of keys.
struct KeyPlanes {
  explicit KeyPlanes(const int8_t* key)
      : low(vld1q_s8(key)), high(vld1q_s8(key + 16)), both(vaddq_s8(low, high)) {}

  int8x16_t low;
  int8x16_t high;
  int8x16_t both;
};

/// What one plane of the query (0 low, 1 high, 2 both) adds to the sums of a pair of rows.
template <bool kKaratsuba, int kPlane>
[[gnu::always_inline]] inline void add_plane(PairSums& sums, int8x16_t query,
                                             const KeyPlanes& key) {
  if constexpr (kPlane == 0) {
    multiply_pairs(sums.low, query, key.low);
    if constexpr (!kKaratsuba) multiply_pairs(sums.middle, query, key.high);
  } else if constexpr (kPlane == 1) {
    multiply_pairs(sums.high, query, key.high);
    if constexpr (!kKaratsuba) multiply_pairs(sums.middle, query, key.low);
  } else if constexpr (kKaratsuba) {
    multiply_pairs(sums.middle, query, key.both);
  }
}

/// Eight elements of every row and of both pairs of keys. The planes of all pairs of rows lie one
/// behind the other, and are loaded two at a time.
template <int kPairs, bool kKaratsuba>
[[gnu::always_inline]] inline void add_elements(const int8_t* planes, const int8_t* key,
                                                PairSums* left, PairSums* right) {
  constexpr int kPlanes = kPairs * 3;
  const KeyPlanes first(key);
  const KeyPlanes second(key + 32);
  unrolled<(kPlanes + 1) / 2>([&](auto i) __attribute__((always_inline)) {
    constexpr int kLoads = 2 * i + 1 < kPlanes ? 2 : 1;
    int8x16_t query[kLoads];
    unrolled<kLoads>([&](auto n) __attribute__((always_inline)) {
      query[n] = vld1q_s8(planes + (2 * i + n) * 16);
    });
    unrolled<kLoads>([&](auto n) __attribute__((always_inline)) {
      constexpr int kPlane = 2 * i + n;
      add_plane<kKaratsuba, kPlane % 3>(left[kPlane / 3], query[n], first);
      add_plane<kKaratsuba, kPlane % 3>(right[kPlane / 3], query[n], second);
    });
  });
}

template <bool kKaratsuba>
inline int32x4_t total(const PairSums& sums) {
  int32x4_t middle = sums.middle;
  if constexpr (kKaratsuba) middle = vsubq_s32(vsubq_s32(middle, sums.high), sums.low);
  const int32x4_t upper = vaddq_s32(vshlq_n_s32(sums.high, 7), middle);
  return vaddq_s32(vshlq_n_s32(upper, 7), sums.low);
}

/// Logits of a pair of rows and four keys from the sums of both pairs of keys.
inline void store_logits(const Attend16Block& b, const float* row_step, int64_t first_key,
                         int32x4_t left, int32x4_t right, float* logits) {
  const int64x2_t l = vreinterpretq_s64_s32(left);
  const int64x2_t r = vreinterpretq_s64_s32(right);
  const float32x4_t key_step = vld1q_f32(b.key_step + first_key);
  const float32x4_t first = vcvtq_f32_s32(vreinterpretq_s32_s64(vzip1q_s64(l, r)));
  const float32x4_t second = vcvtq_f32_s32(vreinterpretq_s32_s64(vzip2q_s64(l, r)));
  vst1q_f32(logits + first_key, vmulq_n_f32(vmulq_f32(first, key_step), row_step[0]));
  vst1q_f32(logits + kAttendBlock + first_key,
            vmulq_n_f32(vmulq_f32(second, key_step), row_step[1]));
}

/// logits [2 · kPairs][kAttendBlock] of four keys; row_step: [2 · kPairs].
template <int kPairs, bool kKaratsuba>
void logits_quad(const Attend16Block& b, const int8_t* planes, const float* row_step,
                 int64_t first_key, float* logits) {
  PairSums left[kPairs];
  PairSums right[kPairs];
  unrolled<kPairs>([&](auto p) __attribute__((always_inline)) { left[p] = right[p] = no_sums(); });
  const int8_t* key = reinterpret_cast<const int8_t*>(b.key) + first_key * b.dim * 2;
  const int8_t* end = key + b.dim * 8;
  while (key != end) {
    unrolled<2>([&](auto) __attribute__((always_inline)) {
      add_elements<kPairs, kKaratsuba>(planes, key, left, right);
      next_row(planes, kPairs * 48);
      key += 64;
    });
  }
  unrolled<kPairs>([&](auto p) __attribute__((always_inline)) {
    store_logits(b, row_step + 2 * p, first_key, total<kKaratsuba>(left[p]),
                 total<kKaratsuba>(right[p]), logits + 2 * p * kAttendBlock);
  });
}

/// Soft-cap, bias and range of four logits of row r; `first` counts from the block's start.
inline float32x4_t adjust(const Attend16Block& b, int64_t r, int64_t first, float32x4_t s) {
  if (b.logit_softcap != 0.0F) {
    const float32x4_t cap = vdupq_n_f32(b.logit_softcap);
    s = vmulq_f32(cap, vector_tanh<Neon>(vdivq_f32(s, cap)));
  }
  const float32x4_t hidden = vdupq_n_f32(kHidden);
  if (b.bias != nullptr) {
    const float32x4_t bias = vld1q_f32(b.bias + r * kAttendBlock + first);
    s = Neon::select_equal(bias, hidden, hidden, vaddq_f32(s, bias));
  }
  static constexpr uint32_t kLaneBit[4] = {1, 2, 4, 8};
  const auto bits = static_cast<uint32_t>(seen_keys(b, r) >> first);
  const uint32x4_t seen = vtstq_u32(vdupq_n_u32(bits), vld1q_u32(kLaneBit));
  return vbslq_f32(seen, s, hidden);
}

/// Raises the reference of row r to `maximum` and rescales what it has summed so far.
inline void raise_reference(const Attend16Block& b, int64_t r, float maximum) {
  const float old = b.max[r];
  b.max[r] = maximum;
  if (old == kHidden) return;  // nothing summed yet
  const float factor = vgetq_lane_f32(exp2_fast(vdupq_n_f32(old - maximum)), 0);
  float* sum = b.sum + r * kAttend16Lanes;
  for (int64_t i = 0; i < kAttend16Lanes; ++i) sum[i] *= factor;
  float* out = b.out + r * b.value_dim;
  for (int64_t d = 0; d < b.value_dim; d += 4) {
    vst1q_f32(out + d, vmulq_n_f32(vld1q_f32(out + d), factor));
  }
}

/// Adjusts the logits of row r; the reference that its weights are to have.
inline float32x4_t row_reference(const Attend16Block& b, int64_t r, bool plain, float* logits) {
  const int64_t keys = quads(b) * 4;
  if (!plain) {
    for (int64_t j = 0; j < keys; j += 4) {
      vst1q_f32(logits + j, adjust(b, r, j, vld1q_f32(logits + j)));
    }
  }
  float32x4_t largest[2] = {vdupq_n_f32(kHidden), vdupq_n_f32(kHidden)};
  for (int64_t j = 0; j < keys; j += 8) {  // of the numbers: NaN shows in the weights
    largest[0] = vmaxnmq_f32(largest[0], vld1q_f32(logits + j));
    largest[1] = vmaxnmq_f32(largest[1], vld1q_f32(logits + j + 4));
  }
  const float maximum = vmaxnmvq_f32(vmaxnmq_f32(largest[0], largest[1]));
  if (maximum > b.max[r] + kAttend16Slack) raise_reference(b, r, maximum);
  return vdupq_n_f32(b.max[r] == kHidden ? 0.0F : b.max[r]);
}

/// Logits of a pair of rows to weights, those of a block of four keys `stride` elements apart.
/// Their sums, rounded to nearest, are kept in the first four lanes of each row.
template <int kRows>
void weigh_pair(const Attend16Block& b, int64_t r, bool plain, float* logits, uint16_t* weights,
                int64_t stride) {
  const float32x4_t first = row_reference(b, r, plain, logits);
  float32x4_t second = vdupq_n_f32(0.0F);
  if constexpr (kRows == 2) second = row_reference(b, r + 1, plain, logits + kAttendBlock);
  float* sum = b.sum + r * kAttend16Lanes;
  float* other = kRows == 2 ? sum + kAttend16Lanes : nullptr;
  float32x4_t even = vdupq_n_f32(0.0F);  // of keys 0 and 2 of every four: two lanes of each row
  float32x4_t odd = vdupq_n_f32(0.0F);
  for (int64_t j = 0; j < quads(b) * 4; j += 4, weights += stride) {
    const float32x4_t p = exp2_fast(vsubq_f32(vld1q_f32(logits + j), first));
    float32x4_t q = vdupq_n_f32(0.0F);
    if constexpr (kRows == 2) {
      q = exp2_fast(vsubq_f32(vld1q_f32(logits + kAttendBlock + j), second));
    }
    const uint16x8_t rounded =
        vreinterpretq_u16_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(p), q));
    const uint32x4_t pairs = vreinterpretq_u32_u16(rounded);
    even = vaddq_f32(even, vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16)));
    odd = vaddq_f32(odd, vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xFFFF0000U))));
    vst1q_u16(weights, rounded);
  }
  const float32x4_t low = vcombine_f32(vget_low_f32(even), vget_low_f32(odd));
  vst1q_f32(sum, vaddq_f32(vld1q_f32(sum), low));
  if constexpr (kRows == 2) {
    const float32x4_t high = vcombine_f32(vget_high_f32(even), vget_high_f32(odd));
    vst1q_f32(other, vaddq_f32(vld1q_f32(other), high));
  }
}

template <int kPairs>
void weigh_rows(const Attend16Block& b, int64_t row, int64_t rows) {
  alignas(16) int8_t planes[kAttend16MaxDim / 8 * kPairs * 48];
  alignas(16) float logits[2 * kPairs * kAttendBlock];
  float row_step[2 * kPairs] = {};
  for (int64_t r = 0; r < rows; ++r) row_step[r] = b.query_step[row + r];
  split_query<kPairs>(b, row, rows, planes);
  for (int64_t j = 0; j < quads(b) * 4; j += 4) {
    if (b.dim >= 32) {
      logits_quad<kPairs, true>(b, planes, row_step, j, logits);
    } else {
      logits_quad<kPairs, false>(b, planes, row_step, j, logits);
    }
  }
  const bool plain = is_plain(b, row, static_cast<int>(rows));
  for (int64_t r = 0; r < rows; r += 2) {
    float* s = logits + r * kAttendBlock;
    uint16_t* weights = b.weights + r * 4;
    if (r + 1 < rows) {
      weigh_pair<2>(b, row + r, plain, s, weights, kPairs * 8);
    } else {
      weigh_pair<1>(b, row + r, plain, s, weights, kPairs * 8);
    }
  }
}

// GCC 12 does not inline these intrinsics into lambdas.
inline bfloat16x8_t load_operand(const uint16_t* p) { return vreinterpretq_bf16_u16(vld1q_u16(p)); }

/// Of the intrinsic GCC 12 makes moves of accumulators besides.
inline float32x4_t add_products(float32x4_t acc, bfloat16x8_t a, bfloat16x8_t b) {
  asm("bfmmla %0.4s, %1.8h, %2.8h" : "+w"(acc) : "w"(a), "w"(b));
  return acc;
}

/// Two rows × four elements of `out` as two 2 × 2 tiles.
struct OutTiles {
  float32x4_t left;
  float32x4_t right;
};

inline OutTiles zip_halves(float32x4_t a, float32x4_t b) {
  const int64x2_t x = vreinterpretq_s64_f32(a);
  const int64x2_t y = vreinterpretq_s64_f32(b);
  return {vreinterpretq_f32_s64(vzip1q_s64(x, y)), vreinterpretq_f32_s64(vzip2q_s64(x, y))};
}

constexpr int64_t kColumns = 16;  // of `out` at a time: with 3 pairs of rows 24 accumulators
constexpr int kTiles = static_cast<int>(kColumns / 2);

/// acc[p][i] += weights of pair p · elements 2i, 2i+1 of four keys.
template <int kPairs>
[[gnu::always_inline]] inline void add_quad(const uint16_t* weights, const uint16_t* value,
                                            float32x4_t* acc) {
  bfloat16x8_t w[kPairs];
  unrolled<kPairs>([&](auto p)
                       __attribute__((always_inline)) { w[p] = load_operand(weights + p * 8); });
  unrolled<kTiles / 2>([&](auto i) __attribute__((always_inline)) {
    bfloat16x8_t left = load_operand(value + i * 16);
    bfloat16x8_t right = load_operand(value + i * 16 + 8);
    asm("" : "+w"(left), "+w"(right));  // both here, so that one instruction loads them
    unrolled<kPairs>([&](auto p) __attribute__((always_inline)) {
      float32x4_t* sums = acc + p * kTiles + i * 2;
      sums[0] = add_products(sums[0], w[p], left);
      sums[1] = add_products(sums[1], w[p], right);
    });
  });
}

/// out[r][d …] += Σ_j p[j] · v[j][d …], kColumns elements.
template <int kPairs>
void add_values(const Attend16Block& b, int64_t row, int64_t rows, int64_t d) {
  constexpr int kFours = kTiles / 2;
  const int64_t dim = b.value_dim;
  float32x4_t acc[kPairs * kTiles];
  float* out = b.out + row * dim + d;
  unrolled<kPairs * kFours>([&](auto i) __attribute__((always_inline)) {
    const float* x = out + i / kFours * 2 * dim + i % kFours * 4;
    const bool pair = i / kFours * 2 + 1 < rows;
    const OutTiles tiles = zip_halves(vld1q_f32(x), pair ? vld1q_f32(x + dim) : vdupq_n_f32(0.0F));
    acc[2 * i] = tiles.left;
    acc[2 * i + 1] = tiles.right;
  });
  const auto* value = reinterpret_cast<const uint16_t*>(b.value) + d * 4;
  const uint16_t* weights = b.weights;
  const uint16_t* end = weights + quads(b) * kPairs * 8;
  for (; weights != end; weights += kPairs * 16) {
    unrolled<2>([&](auto quad) __attribute__((always_inline)) {
      add_quad<kPairs>(weights + quad * kPairs * 8, value, acc);
      next_row(value, dim * 4);
    });
  }
  unrolled<kPairs * kFours>([&](auto i) __attribute__((always_inline)) {
    float* x = out + i / kFours * 2 * dim + i % kFours * 4;
    const OutTiles lines = zip_halves(acc[2 * i], acc[2 * i + 1]);
    vst1q_f32(x, lines.left);
    if (i / kFours * 2 + 1 < rows) vst1q_f32(x + dim, lines.right);
  });
}

template <int kPairs>
void attend_rows(const Attend16Block& b, int64_t row, int64_t rows) {
  if (sees_nothing(b, row, static_cast<int>(rows))) return;
  weigh_rows<kPairs>(b, row, rows);
  for (int64_t d = 0; d < b.value_dim; d += kColumns) add_values<kPairs>(b, row, rows, d);
}

/// Rows of the next group: sixes, and the last of them in two even parts of whole pairs.
inline int64_t group_rows(int64_t left) {
  if (left >= 2 * kGroup) return kGroup;
  return left > kGroup ? (left + 3) / 4 * 2 : left;
}

}  // namespace

bool attend16_pack_query_bf16(const float* q, int64_t dim, float factor, int16_t* packed,
                              float* step) {
  return pack_query16(q, dim, factor, packed, step);
}

bool attend16_pack_keys_bf16(const RowSource& source, const int32_t* index, int64_t first,
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

void attend16_pack_values_bf16(const RowSource& source, const int32_t* index, int64_t first,
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

int16_t attend16_key_element_bf16(const int32_t* packed, int64_t dim, int64_t key, int64_t d) {
  const auto* pair =
      reinterpret_cast<const int8_t*>(packed) + key / 4 * dim * 8 + d / 8 * 64 + key % 4 / 2 * 32;
  const int64_t i = key % 2 * 8 + d % 8;
  return static_cast<int16_t>(128 * pair[16 + i] + pair[i]);
}

uint16_t attend16_value_element_bf16(const int32_t* packed, int64_t dim, int64_t key, int64_t d) {
  return reinterpret_cast<const uint16_t*>(packed)[(key / 4 * dim + d) * 4 + key % 4];
}

void attend16_block_bf16(const Attend16Block& b) {
  static constexpr void (*kAttendRows[])(const Attend16Block&, int64_t, int64_t) = {
      attend_rows<1>, attend_rows<2>, attend_rows<3>};
  for (int64_t row = 0; row < b.rows;) {
    const int64_t count = group_rows(b.rows - row);
    kAttendRows[(count - 1) / 2](b, row, count);
    row += count;
  }
}

}  // namespace shadowattn
