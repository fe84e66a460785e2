#if defined(__aarch64__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#endif

#include <vector>

#include "kernels/attend/attend.h"
#include "kernels/attend16/attend16.h"
#include "kernels/keep/keep.h"
#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/project/project.h"
#include "kernels/quantize/quantize.h"
#include "kernels/score_rank/score_rank.h"
#include "kernels/select/select.h"
#include "shadowattn/cpu.h"

namespace shadowattn {
namespace {

struct FeatureName {
  CpuFeature feature;
  std::string_view name;
};

constexpr FeatureName kFeatureNames[] = {
    {CpuFeature::kAvx2, "avx2"},
    {CpuFeature::kFma, "fma"},
    {CpuFeature::kF16c, "f16c"},
    {CpuFeature::kAvxVnni, "avxvnni"},
    {CpuFeature::kAvx512, "avx512"},
    {CpuFeature::kAvx512Vnni, "avx512vnni"},
    {CpuFeature::kAvx512Bf16, "avx512bf16"},
    {CpuFeature::kNeon, "neon"},
    {CpuFeature::kDotProd, "dotprod"},
    {CpuFeature::kI8mm, "i8mm"},
    {CpuFeature::kArmBf16, "bf16"},
};

#if defined(__aarch64__)
// Bits of Linux's interface (asm/hwcap.h); headers older than the processors lack some.
constexpr unsigned long kHwcapArmv82 = 1UL << 7 | 1UL << 8 | 1UL << 12;  // CRC32, LSE, RDM
constexpr unsigned long kHwcapDotProd = 1UL << 20;                       // in AT_HWCAP
constexpr unsigned long kHwcap2I8mm = 1UL << 13;                         // in AT_HWCAP2
constexpr unsigned long kHwcap2Bf16 = 1UL << 14;
#endif

#if defined(__x86_64__)
/// Bit 4 of EAX of leaf 7.1, which GCC 12's builtin has no name for.
bool has_avx_vnni() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1U) != 0;
}
#endif

template <typename Kernel>
void append(std::string_view family, const std::vector<Kernel>& kernels,
            std::vector<KernelInfo>& out) {
  for (const Kernel& kernel : kernels) {
    out.push_back({family, kernel.name, kernel.needs});
  }
}

}  // namespace

CpuFeatures detect_cpu_features() {
  CpuFeatures found;
#if defined(__x86_64__)
  // The builtins also ask the operating system whether it saves the wide registers.
  __builtin_cpu_init();
  // The ISA files are compiled with BMI, which every processor with AVX2 has; a hypervisor may not.
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
      __builtin_cpu_supports("bmi2")) {
    found = found | CpuFeature::kAvx2;
  }
  if (__builtin_cpu_supports("fma")) found = found | CpuFeature::kFma;
  if (__builtin_cpu_supports("f16c")) found = found | CpuFeature::kF16c;
  if (has_avx_vnni()) found = found | CpuFeature::kAvxVnni;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    found = found | CpuFeature::kAvx512;
    if (__builtin_cpu_supports("avx512vnni")) found = found | CpuFeature::kAvx512Vnni;
    if (__builtin_cpu_supports("avx512bf16")) found = found | CpuFeature::kAvx512Bf16;
  }
#elif defined(__aarch64__)
  // Linux and Android report what all cores of a machine have, also where they are of two kinds.
  found = CpuFeature::kNeon;
  const unsigned long first = getauxval(AT_HWCAP);
  const unsigned long second = getauxval(AT_HWCAP2);
  // The ISA files are compiled for Armv8.2, which every processor with these extensions is.
  if ((first & kHwcapArmv82) != kHwcapArmv82) return found;
  if (first & kHwcapDotProd) found = found | CpuFeature::kDotProd;
  if (second & kHwcap2I8mm) found = found | CpuFeature::kI8mm;
  if (second & kHwcap2Bf16) found = found | CpuFeature::kArmBf16;
#endif
  return found;
}

std::string to_string(CpuFeatures features) {
  std::string text;
  for (const FeatureName& entry : kFeatureNames) {
    if (!features.covers(entry.feature)) continue;
    if (!text.empty()) text += ' ';
    text += entry.name;
  }
  return text.empty() ? "none" : text;
}

const std::vector<IsaLevel>& isa_levels() {
  static const std::vector<IsaLevel> levels = {
    {"scalar", CpuFeatures()},
#if defined(__x86_64__)
    {"avx2", kAvx2Level},
    {"avxvnni", kAvxVnniLevel},
    {"avx512", kAvx512Level},
    {"avx512vnni", kAvx512VnniLevel},
    {"avx512bf16", kAvx512Bf16Level},
#elif defined(__aarch64__)
    {"neon", kNeonLevel},
    {"dotprod", kDotProdLevel},
    {"i8mm", kI8mmLevel},
    {"bf16", kArmBf16Level},
#endif
  };
  return levels;
}

Result<CpuFeatures> resolve_isa(std::string_view isa) {
  const CpuFeatures here = detect_cpu_features();
  if (isa.empty()) return here;
  std::string known;
  for (const IsaLevel& level : isa_levels()) {
    if (level.name == isa) {
      if (here.covers(level.features)) return level.features;
      return Status::unsupported("isa=" + std::string(isa) + " needs " + to_string(level.features) +
                                 "; this machine has " + to_string(here));
    }
    known += known.empty() ? "" : ", ";
    known += level.name;
  }
  return Status::invalid_argument("isa=" + std::string(isa) + " is unknown; known: " + known);
}

std::vector<KernelInfo> list_kernels() {
  std::vector<KernelInfo> kernels;
  append("quantize", quantize_kernels(), kernels);
  append("pilot_dot", pilot_dot_kernels(), kernels);
  append("score_rank", score_rank_kernels(), kernels);
  append("select", select_kernels(), kernels);
  append("project", project_kernels(), kernels);
  append("keep", keep_kernels(), kernels);
  append("attend", attend_kernels(), kernels);
  append("attend16", attend16_kernels(), kernels);
  return kernels;
}

}  // namespace shadowattn
