/* INT8 scores with HVX, 128-byte vectors.
 *
 * V.w += vrmpy(V.ub, R.b) multiplies 32 × 4 unsigned bytes of a vector by the same 4 signed bytes
 * of a scalar register: 32 keys × 4 dimensions against one query row, without a splat. Keys are
 * made unsigned by adding 128, and the sums start at -128 · Σ_d query[d], so they end exact.
 *
 * Keys are packed 128 at a time, right before use, to [dim / 4][4][32 keys][4 dimensions]: what the
 * inner loop reads in order. On a phone that buffer, 32 KiB at most, belongs into VTCM. The four
 * vectors of a step hold the keys of a block in the order in which narrowing to bytes restores:
 * lane i of vector a is key 64 · (a / 2) + 2 · i + a % 2. */
#include <hexagon_protos.h>
#include <hexagon_types.h>
#include <hvx_hexagon_protos.h>

#include "pilot.h"

enum {
  kLanes = 32,     /* words in a vector */
  kRowBlock = 4,   /* rows whose sums are in registers */
  kKeyVectors = 4, /* vectors of keys, likewise */
  kKeyBlock = kLanes * kKeyVectors,
  kStepBytes = kKeyBlock * 4 /* packed keys of 4 dimensions */
};

/* kKeyBlock packed keys. */
static HVX_Vector packed[kHexagonMaxDim / 4 * kKeyVectors];
/* -128 · Σ_d query[d] of every row. */
static int32_t row_start[kHexagonMaxRows];

/* Exchanges bit `bit` of the vectors' numbers with the bit of the byte number that `bytes` has. */
static inline __attribute__((always_inline)) void exchange(HVX_Vector* v, const int vectors,
                                                           const int bit, const int bytes) {
  const int distance = 1 << bit;
#pragma clang loop unroll(full)
  for (int i = 0; i < vectors; ++i) {
    if (i & distance) continue;
    const HVX_VectorPair pair = Q6_W_vshuff_VVR(v[i + distance], v[i], bytes);
    v[i] = Q6_V_lo_W(pair);
    v[i + distance] = Q6_V_hi_W(pair);
  }
}

/* The first half of transposing 32 keys, `step` bytes apart, as far as word `limit`, a power of
 * two: bits 4 to 2 of the key's number. An unaligned load takes the unit that also exchanges. */
static inline __attribute__((always_inline)) void transpose_high(const int8_t* key, int32_t step,
                                                                 const int aligned, const int limit,
                                                                 HVX_Vector* between) {
  const HVX_Vector flip = Q6_V_vsplat_R((int32_t)0x80808080);
  const int groups = limit / 4;
#pragma clang loop unroll(disable)
  for (int low = 0; low < 4; ++low, key += step, ++between) {
    const int8_t* from = key;
    HVX_Vector v[8];
#pragma clang loop unroll(full)
    for (int i = 0; i < 8; ++i, from += 4 * step) {
      if (aligned) {
        v[i] = Q6_V_vxor_VV(*(const HVX_Vector*)from, flip);
      } else {
        v[i] = Q6_V_vxor_VV(*(const HVX_UVector*)from, flip);
      }
    }
    /* From the top bit down: vectors that would only hold words beyond the limit drop out. */
    exchange(v, 8, 2, 64);
    exchange(v, groups < 4 ? 4 : groups, 1, 32);
    exchange(v, groups < 2 ? 2 : groups, 0, 16);
#pragma clang loop unroll(full)
    for (int i = 0; i < groups; ++i) between[4 * i] = v[i];
  }
}

/* The second half: bits 1 and 0. Writes `words` words, a multiple of 4, of 32 packed keys each. */
static inline __attribute__((always_inline)) void transpose_low(const HVX_Vector* between,
                                                                int words, HVX_Vector* out) {
#pragma clang loop unroll(disable)
  for (; words > 0; words -= 4, between += 4, out += 4 * kKeyVectors) {
    HVX_Vector v[4];
#pragma clang loop unroll(full)
    for (int i = 0; i < 4; ++i) v[i] = between[i];
    exchange(v, 4, 1, 8);
    exchange(v, 4, 0, 4);
#pragma clang loop unroll(full)
    for (int i = 0; i < 4; ++i) out[i * kKeyVectors] = v[i];
  }
}

static __attribute__((noinline)) void pack_aligned(const int8_t* key, int32_t step,
                                                   HVX_Vector* out) {
  HVX_Vector between[kLanes];
  transpose_high(key, step, 1, 32, between);
  transpose_low(between, 32, out);
}

/* Two keys of 64 bytes to a vector: their words become those of two vectors of a step. */
static __attribute__((noinline)) void pack_pairs(const int8_t* key, HVX_Vector* out) {
  HVX_Vector between[kLanes];
  transpose_high(key, 128, 1, 32, between);
  transpose_low(between, 16, out);
  transpose_low(between + 16, 16, out + 1);
}

/* Any number of words up to 32. */
static __attribute__((noinline)) void pack_words(const int8_t* key, int32_t step, int32_t words,
                                                 HVX_Vector* out) {
  HVX_Vector between[kLanes];
  if (words > 16) {
    transpose_high(key, step, 0, 32, between);
  } else if (words > 8) {
    transpose_high(key, step, 0, 16, between);
  } else {
    transpose_high(key, step, 0, 8, between);
  }
  transpose_low(between, words, out);
}

/* kKeyBlock keys of dim bytes. */
static void pack_keys(const int8_t* key, int32_t dim) {
  if (dim == 64) {
    pack_pairs(key, packed);
    pack_pairs(key + 64 * 64, packed + 2);
    return;
  }
  for (int a = 0; a < kKeyVectors; ++a) {
    const int8_t* first = key + (64 * (a >> 1) + (a & 1)) * dim;
    for (int32_t d = 0; d < dim; d += 128) {
      HVX_Vector* out = packed + d * (kKeyVectors / 4) + a;
      if (dim % 128 == 0) {
        pack_aligned(first + d, 2 * dim, out);
      } else {
        pack_words(first + d, 2 * dim, (dim - d < 128 ? dim - d : 128) >> 2, out);
      }
    }
  }
}

static int32_t sum_of(const int8_t* query, int32_t dim) {
  const int64_t ones = 0x0101010101010101;
  int64_t sums = 0;
  for (int32_t d = 0; d < dim; d += 8) {
    sums = Q6_P_vrmpybsuacc_PP(sums, *(const int64_t*)(query + d), ones);
  }
  return (int32_t)sums + (int32_t)(sums >> 32);
}

/* 128 sums of one row to bytes. */
static inline __attribute__((always_inline)) HVX_Vector requantise(const HVX_Vector* sum,
                                                                   int32_t shift,
                                                                   HVX_Vector mantissa) {
  const HVX_Vector first = Q6_Vh_vasr_VwVwR_rnd_sat(sum[1], sum[0], shift);
  const HVX_Vector second = Q6_Vh_vasr_VwVwR_rnd_sat(sum[3], sum[2], shift);
  const HVX_Vector bytes = Q6_Vb_vpack_VhVh_sat(Q6_Vh_vmpy_VhVh_s1_rnd_sat(second, mantissa),
                                                Q6_Vh_vmpy_VhVh_s1_rnd_sat(first, mantissa));
  return Q6_Vb_vmax_VbVb(bytes, Q6_Vb_vsplat_R(-127));
}

/* kRowBlock rows against the packed keys. */
static __attribute__((noinline)) void multiply(const HexagonGraph* graph, const int8_t* query,
                                               const int32_t* start, HVX_Vector mantissa,
                                               int8_t* scores) {
  const int32_t dim = graph->dim, shift = graph->shift, stride = graph->keys;
  HVX_Vector sum[kRowBlock][kKeyVectors], bytes[kRowBlock];
#pragma clang loop unroll(full)
  for (int r = 0; r < kRowBlock; ++r) {
#pragma clang loop unroll(full)
    for (int a = 0; a < kKeyVectors; ++a) sum[r][a] = Q6_V_vsplat_R(start[r]);
  }
  const HVX_Vector* keys = packed;
  for (int32_t d = 0; d < dim; d += 8) {
    int64_t words[kRowBlock];
#pragma clang loop unroll(full)
    for (int r = 0; r < kRowBlock; ++r) words[r] = *(const int64_t*)(query + r * dim + d);
#pragma clang loop unroll(full)
    for (int half = 0; half < 2; ++half, keys += kKeyVectors) {
#pragma clang loop unroll(full)
      for (int a = 0; a < kKeyVectors; ++a) {
        const HVX_Vector key = keys[a];
#pragma clang loop unroll(full)
        for (int r = 0; r < kRowBlock; ++r) {
          const int32_t word = (int32_t)(words[r] >> (32 * half));
          sum[r][a] = Q6_Vw_vrmpyacc_VwVubRb(sum[r][a], key, word);
        }
      }
    }
  }
  /* Stored at the end, so that the rows' narrowing can overlap. */
#pragma clang loop unroll(full)
  for (int r = 0; r < kRowBlock; ++r) bytes[r] = requantise(sum[r], shift, mantissa);
#pragma clang loop unroll(full)
  for (int r = 0; r < kRowBlock; ++r) *(HVX_Vector*)(scores + r * stride) = bytes[r];
}

void pilot_scores(const HexagonGraph* graph, const int8_t* query, const int8_t* key,
                  int8_t* scores) {
  const HVX_Vector mantissa = Q6_Vh_vsplat_R(graph->mantissa);
  for (int32_t r = 0; r < graph->rows; ++r) {
    row_start[r] = -128 * sum_of(query + r * graph->dim, graph->dim);
  }
  for (int32_t j = 0; j < graph->keys; j += kKeyBlock) {
    pack_keys(key + j * graph->dim, graph->dim);
    for (int32_t r = 0; r < graph->rows; r += kRowBlock) {
      multiply(graph, query + r * graph->dim, row_start + r, mantissa,
               scores + r * graph->keys + j);
    }
  }
}
