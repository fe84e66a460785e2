// Sixteen f32 lanes with AVX-512 F, BW, DQ and VL. Interface: see generic.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace shadowattn::simd {

struct Avx512 {
  using Vec = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kAccumulators = 24;

  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec set1(float x) { return _mm512_set1_ps(x); }
  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  static Vec load_half(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Vec set1_half(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(*p)));
  }
  static Vec load_int8(const int8_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static Vec load_upper(const uint16_t* p) {
    const __m512i words =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
  }
  static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  static Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
  static Vec select_less(Vec a, Vec b, Vec x, Vec y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
  }
  static Vec select_equal(Vec a, Vec b, Vec x, Vec y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ), y, x);
  }
  static Vec select_bit(const uint32_t* words, int bit, Vec x, Vec y) {
    const __m512i bits = _mm512_loadu_si512(words);
    const __m512i wanted = _mm512_set1_epi32(static_cast<int>(1U << bit));
    return _mm512_mask_blend_ps(_mm512_test_epi32_mask(bits, wanted), y, x);
  }
  static Vec round(Vec a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Vec exp2_int(Vec n) {
    const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
  }
  static float reduce_add(Vec v) { return _mm512_reduce_add_ps(v); }
  static Vec reduce_each(const Vec (&v)[kLanes]) {
    alignas(64) float sums[kLanes];
    for (int i = 0; i < kLanes; ++i) sums[i] = reduce_add(v[i]);
    return load(sums);
  }
  static void store_int8(int8_t* p, Vec v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v)));
  }
  static bool any_different(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ) != 0; }
  static Vec max_magnitude(Vec largest, Vec v) {
    const __m512i bits = _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7FFFFFFF));
    return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(largest), bits));
  }
  static float reduce_max_magnitude(Vec v) {
    const int32_t bits = _mm512_reduce_max_epi32(_mm512_castps_si512(v));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits)));
  }
  static uint32_t mask_less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static int count_less(Vec a, Vec b) {
    return _mm_popcnt_u32(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ));
  }
  static bool any_nonfinite(Vec v) {
    const __m512i exponent = _mm512_set1_epi32(0x7F800000);
    const __m512i bits = _mm512_and_si512(_mm512_castps_si512(v), exponent);
    return _mm512_cmpeq_epi32_mask(bits, exponent) != 0;
  }
};

}  // namespace shadowattn::simd
