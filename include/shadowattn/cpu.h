// What this machine can do and which kernels were built for it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shadowattn/status.h"

namespace shadowattn {

/// One bit per instruction-set extension that some kernel needs.
enum class CpuFeature : uint32_t {
  kAvx2 = 1U << 0,        ///< AVX2, and BMI1/2, which come with it
  kFma = 1U << 1,         ///< FMA3
  kF16c = 1U << 2,        ///< f16 conversions
  kAvx512 = 1U << 3,      ///< AVX-512 F, BW, DQ and VL
  kAvx512Vnni = 1U << 4,  ///< AVX-512 VNNI
  kAvx512Bf16 = 1U << 5,  ///< AVX-512 BF16
  kNeon = 1U << 6,        ///< Advanced SIMD; every 64-bit Arm processor has it
  kDotProd = 1U << 7,     ///< Arm INT8 dot products (sdot, FEAT_DotProd)
  kI8mm = 1U << 8,        ///< Arm INT8 matrix products (smmla, FEAT_I8MM)
  kArmBf16 = 1U << 9,     ///< Arm BF16 matrix products (bfmmla, FEAT_BF16)
  kAvxVnni = 1U << 10,    ///< AVX-VNNI: INT8 dot products without AVX-512
};

/// A set of CpuFeature bits. Kernels are chosen by such a set, never by a global, so that tests
/// can ask for any of them.
class CpuFeatures {
 public:
  constexpr CpuFeatures() = default;
  constexpr explicit CpuFeatures(uint32_t bits) : bits_(bits) {}
  constexpr CpuFeatures(CpuFeature feature) : bits_(static_cast<uint32_t>(feature)) {}

  constexpr CpuFeatures operator|(CpuFeatures other) const {
    return CpuFeatures(bits_ | other.bits_);
  }
  constexpr CpuFeatures operator&(CpuFeatures other) const {
    return CpuFeatures(bits_ & other.bits_);
  }
  constexpr bool operator==(const CpuFeatures&) const = default;
  /// True when every feature of `needed` is in this set.
  constexpr bool covers(CpuFeatures needed) const { return (bits_ & needed.bits_) == needed.bits_; }
  constexpr uint32_t bits() const { return bits_; }

 private:
  uint32_t bits_ = 0;
};

constexpr CpuFeatures operator|(CpuFeature a, CpuFeature b) {
  return CpuFeatures(a) | CpuFeatures(b);
}

/// What the kernels of a level may use. A level holds all that its ISA files are compiled with.
inline constexpr CpuFeatures kAvx2Level = CpuFeature::kAvx2 | CpuFeature::kFma | CpuFeature::kF16c;
inline constexpr CpuFeatures kAvxVnniLevel = kAvx2Level | CpuFeature::kAvxVnni;
inline constexpr CpuFeatures kAvx512Level = kAvx2Level | CpuFeature::kAvx512;
inline constexpr CpuFeatures kAvx512VnniLevel = kAvx512Level | CpuFeature::kAvx512Vnni;
inline constexpr CpuFeatures kAvx512Bf16Level = kAvx512VnniLevel | CpuFeature::kAvx512Bf16;
inline constexpr CpuFeatures kNeonLevel = CpuFeature::kNeon;
inline constexpr CpuFeatures kDotProdLevel = kNeonLevel | CpuFeature::kDotProd;
inline constexpr CpuFeatures kI8mmLevel = kDotProdLevel | CpuFeature::kI8mm;
inline constexpr CpuFeatures kArmBf16Level = kI8mmLevel | CpuFeature::kArmBf16;

/// What the processor and the operating system offer: from cpuid, or from what the kernel says of
/// the hardware (Arm). Cheap.
CpuFeatures detect_cpu_features();

/// Names of the set's members, e.g. "avx2 fma f16c"; "none" when empty.
std::string to_string(CpuFeatures features);

/// A named level that limits what may be used: "scalar", "avx2", "avxvnni", "avx512",
/// "avx512vnni", "avx512bf16"; on Arm "scalar", "neon", "dotprod", "i8mm", "bf16".
struct IsaLevel {
  std::string_view name;
  CpuFeatures features;
};

/// All levels that kernels were built for, weakest first.
const std::vector<IsaLevel>& isa_levels();

/// The features to use: those of this machine, limited to the level `isa` when it is not empty.
/// Error when the level is unknown or this machine lacks it.
Result<CpuFeatures> resolve_isa(std::string_view isa);

/// A kernel of this build, for listings.
struct KernelInfo {
  /// "quantize", "pilot_dot", "score_rank", "select", "project", "keep", "attend", "attend16"
  std::string_view family;
  std::string_view name;  ///< "avx2"
  CpuFeatures needs;
};

/// Every kernel built, by family, best first. The first whose needs are covered is the one used;
/// attend16 alone may have none.
std::vector<KernelInfo> list_kernels();

}  // namespace shadowattn
