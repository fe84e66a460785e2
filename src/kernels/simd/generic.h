// Four f32 lanes in plain C++ (GCC and Clang vector extensions): runs anywhere; SSE2 or NEON
// instructions come out of it where the baseline has them.
// Same interface in every file of this folder; kernels are templates over the struct.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/half.h"

namespace shadowattn::simd {

struct Generic {
  using Vec = float __attribute__((vector_size(16)));
  using Int = int32_t __attribute__((vector_size(16)));
  static constexpr int kLanes = 4;
  /// Vector registers that a kernel may fill with accumulators.
  static constexpr int kAccumulators = 8;

  static Vec zero() { return Vec{}; }
  static Vec set1(float x) { return Vec{x, x, x, x}; }
  static Vec load(const float* p) {
    Vec v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
  static Vec load_half(const uint16_t* p) {
    Vec v;
    for (int i = 0; i < kLanes; ++i) v[i] = half_to_float(p[i]);
    return v;
  }
  /// The f16 at p in every lane.
  static Vec set1_half(const uint16_t* p) { return set1(half_to_float(*p)); }
  static Vec load_int8(const int8_t* p) {
    Vec v;
    for (int i = 0; i < kLanes; ++i) v[i] = static_cast<float>(p[i]);
    return v;
  }
  /// The floats of which these are the upper halves.
  static Vec load_upper(const uint16_t* p) {
    uint32_t bits[kLanes];
    for (int i = 0; i < kLanes; ++i) bits[i] = static_cast<uint32_t>(p[i]) << 16;
    Vec v;
    std::memcpy(&v, bits, sizeof v);
    return v;
  }
  static Vec add(Vec a, Vec b) { return a + b; }
  static Vec sub(Vec a, Vec b) { return a - b; }
  static Vec mul(Vec a, Vec b) { return a * b; }
  static Vec div(Vec a, Vec b) { return a / b; }
  /// a · b + c; rounded once where the hardware can, twice here.
  static Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
  /// The second operand when either is NaN (as the x86 instruction does), so that
  /// max(limit, x) keeps a NaN in x.
  static Vec max(Vec a, Vec b) { return a > b ? a : b; }
  static Vec min(Vec a, Vec b) { return a < b ? a : b; }
  /// where `a < b` take x, else y.
  static Vec select_less(Vec a, Vec b, Vec x, Vec y) { return a < b ? x : y; }
  static Vec select_equal(Vec a, Vec b, Vec x, Vec y) { return a == b ? x : y; }
  /// x in the lanes whose word has this bit set, else y.
  static Vec select_bit(const uint32_t* words, int bit, Vec x, Vec y) {
    for (int i = 0; i < kLanes; ++i) x[i] = (words[i] >> bit & 1U) != 0 ? x[i] : y[i];
    return x;
  }
  static Vec round(Vec a) {
    for (int i = 0; i < kLanes; ++i) a[i] = std::nearbyint(a[i]);
    return a;
  }
  /// 2^n for whole n in [-126, 127].
  static Vec exp2_int(Vec n) {
    const Int bits = (__builtin_convertvector(n, Int) + 127) << 23;
    Vec v;
    std::memcpy(&v, &bits, sizeof v);
    return v;
  }
  static float reduce_add(Vec v) { return (v[0] + v[2]) + (v[1] + v[3]); }
  /// Lane i: the sum of the lanes of v[i].
  static Vec reduce_each(const Vec (&v)[kLanes]) {
    Vec sums;
    for (int i = 0; i < kLanes; ++i) sums[i] = reduce_add(v[i]);
    return sums;
  }
  /// round(v) as int8; lanes must be within [-127, 127].
  static void store_int8(int8_t* p, Vec v) {
    for (int i = 0; i < kLanes; ++i) p[i] = static_cast<int8_t>(std::nearbyint(v[i]));
  }
  static bool any_different(Vec a, Vec b) {
    for (int i = 0; i < kLanes; ++i) {
      if (!(a[i] == b[i])) return true;
    }
    return false;
  }
  /// |v| where it is larger than `largest` (not negative) by its bits: NaN above infinity above all
  /// numbers.
  static Vec max_magnitude(Vec largest, Vec v) {
    Int a;
    Int b;
    std::memcpy(&a, &largest, sizeof a);
    std::memcpy(&b, &v, sizeof b);
    b &= 0x7FFFFFFF;
    a = a > b ? a : b;
    std::memcpy(&v, &a, sizeof v);
    return v;
  }
  /// The largest lane by its bits; lanes not negative.
  static float reduce_max_magnitude(Vec v) {
    v = max_magnitude(v, Vec{v[2], v[3], v[0], v[1]});
    return max_magnitude(v, Vec{v[1], v[0], v[3], v[2]})[0];
  }
  /// Bit i: a < b in lane i.
  static uint32_t mask_less(Vec a, Vec b) {
    uint32_t mask = 0;
    for (int i = 0; i < kLanes; ++i) mask |= (a[i] < b[i] ? 1U : 0U) << i;
    return mask;
  }
  /// In how many lanes a < b.
  static int count_less(Vec a, Vec b) {
    int count = 0;
    for (int i = 0; i < kLanes; ++i) count += a[i] < b[i] ? 1 : 0;
    return count;
  }
  /// True when a lane is infinite or NaN.
  static bool any_nonfinite(Vec v) {
    Int bits;
    std::memcpy(&bits, &v, sizeof v);
    bits = (bits & 0x7F800000) == 0x7F800000;
    int32_t any = 0;
    for (int i = 0; i < kLanes; ++i) any |= bits[i];
    return any != 0;
  }
};

}  // namespace shadowattn::simd
