// Loads that do not care whether memory holds f32 or f16 (as uint16_t).
#pragma once

#include <cstdint>

namespace shadowattn {

template <typename Simd>
typename Simd::Vec load_elements(const float* p) {
  return Simd::load(p);
}

template <typename Simd>
typename Simd::Vec load_elements(const uint16_t* p) {
  return Simd::load_half(p);
}

}  // namespace shadowattn
