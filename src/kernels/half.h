// IEEE binary16 <-> binary32 without hardware help, exact in both directions of use here.
#pragma once

#include <bit>
#include <cstdint>

namespace shadowattn {

/// Exact; NaN stays NaN, infinities and subnormals are kept. Without branches: the compiler
/// vectorises loops of it.
inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
  const uint32_t exponent = (half >> 10) & 0x1FU;
  const uint32_t mantissa = half & 0x3FFU;
  // Zero or subnormal: mantissa · 2^-24.
  const auto small = std::bit_cast<uint32_t>(static_cast<float>(mantissa) * 0x1p-24F);
  const uint32_t wide = exponent == 31 ? 0xFFU : exponent + 112U;
  return std::bit_cast<float>(sign | (exponent == 0 ? small : (wide << 23) | (mantissa << 13)));
}

/// Round to nearest, ties to even.
inline uint16_t float_to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000U;
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<uint16_t>(sign | 0x7E00U);   // NaN
  if (magnitude >= 0x477FF000U) return static_cast<uint16_t>(sign | 0x7C00U);  // to infinity
  if (magnitude < 0x38800000U) {  // subnormal or zero: adding 0.5 leaves the bits rounded in place
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000U));
  }
  const uint32_t rounded = magnitude - 0x38000000U + 0xFFFU + ((magnitude >> 13) & 1U);
  return static_cast<uint16_t>(sign | (rounded >> 13));
}

}  // namespace shadowattn
