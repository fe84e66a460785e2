#include "shadowattn/cpu.h"

#include <gtest/gtest.h>

#include <set>

#include "engine/shadow_tile.h"
#include "kernel_param.h"
#include "kernels/attend/attend.h"
#include "kernels/attend16/attend16.h"
#include "kernels/family.h"
#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/quantize/quantize.h"
#include "kernels/score_rank/score_rank.h"
#include "kernels/select/select.h"

namespace shadowattn {
namespace {

TEST(CpuFeaturesTest, SetOperations) {
  const CpuFeatures avx2 = CpuFeature::kAvx2;
  const CpuFeatures both = CpuFeature::kAvx2 | CpuFeature::kFma;
  EXPECT_TRUE(both.covers(avx2));
  EXPECT_FALSE(avx2.covers(both));
  EXPECT_TRUE(avx2.covers(CpuFeatures()));
  EXPECT_TRUE(both.covers(both));
  EXPECT_EQ(both & avx2, avx2);
  EXPECT_EQ((avx2 & CpuFeatures(CpuFeature::kFma)), CpuFeatures());
}

TEST(CpuFeaturesTest, Names) {
  EXPECT_EQ(to_string(CpuFeatures()), "none");
  EXPECT_EQ(to_string(CpuFeature::kAvx2 | CpuFeature::kF16c), "avx2 f16c");
  EXPECT_EQ(to_string(CpuFeatures(~0U)),
            "avx2 fma f16c avxvnni avx512 avx512vnni avx512bf16 neon dotprod i8mm bf16");
}

TEST(IsaTest, LevelsGrow) {
  const std::vector<IsaLevel>& levels = isa_levels();
  ASSERT_FALSE(levels.empty());
  EXPECT_EQ(levels[0].name, "scalar");
  EXPECT_EQ(levels[0].features, CpuFeatures());
  size_t before = 0;
  for (size_t i = 1; i < levels.size(); ++i) {
    EXPECT_TRUE(levels[i].features.covers(levels[before].features)) << levels[i].name;
    EXPECT_FALSE(levels[before].features.covers(levels[i].features)) << levels[i].name;
    if (levels[i].name != "avxvnni") before = i;  // a branch: AVX-512 does not imply it
  }
}

TEST(IsaTest, ResolvesWhatTheMachineHas) {
  const CpuFeatures here = detect_cpu_features();
  EXPECT_EQ(resolve_isa("").value(), here);
  EXPECT_EQ(resolve_isa("scalar").value(), CpuFeatures());
  for (const IsaLevel& level : isa_levels()) {
    const Result<CpuFeatures> resolved = resolve_isa(level.name);
    ASSERT_EQ(resolved.ok(), here.covers(level.features)) << level.name;
    if (resolved.ok()) {
      EXPECT_EQ(resolved.value(), level.features);
    } else {
      EXPECT_EQ(resolved.status().code(), StatusCode::kUnsupported);
      EXPECT_NE(resolved.status().message().find(level.name), std::string::npos);
    }
  }
}

class IsaLevelTest : public testing::TestWithParam<IsaLevel> {};

TEST_P(IsaLevelTest, EngineTestsRunOnThisMachine) {
  // The tests of the engine are instantiated for the levels of this machine only: here one sees
  // which those are not.
  const Result<CpuFeatures> resolved = resolve_isa(GetParam().name);
  if (!resolved.ok()) GTEST_SKIP() << resolved.status().message();
}

INSTANTIATE_TEST_SUITE_P(Isa, IsaLevelTest, testing::ValuesIn(isa_levels()),
                         test::kernel_name<IsaLevel>);

TEST(IsaTest, UnknownNamesAreRefusedWithTheKnownOnes) {
  for (const std::string_view name : {"AVX2", "avx2 ", "avx", "neon,avx2", "none"}) {
    const Result<CpuFeatures> resolved = resolve_isa(name);
    ASSERT_FALSE(resolved.ok()) << name;
    EXPECT_EQ(resolved.status().code(), StatusCode::kInvalidArgument);
    for (const IsaLevel& level : isa_levels()) {
      EXPECT_NE(resolved.status().message().find(level.name), std::string::npos) << name;
    }
  }
}

template <typename Kernel>
void expect_sound_list(const std::vector<Kernel>& kernels) {
  ASSERT_FALSE(kernels.empty());
  EXPECT_EQ(kernels.back().name, "scalar");
  EXPECT_EQ(kernels.back().needs, CpuFeatures());
  std::set<std::string_view> names;
  CpuFeatures all(~0U);
  for (size_t i = 0; i < kernels.size(); ++i) {
    EXPECT_TRUE(names.insert(kernels[i].name).second) << kernels[i].name;
    // Best first, and chosen where all its needs and no more are there.
    EXPECT_EQ(best_kernel(kernels, kernels[i].needs).name, kernels[i].name);
  }
  EXPECT_EQ(best_kernel(kernels, all).name, kernels.front().name);
  EXPECT_EQ(best_kernel(kernels, CpuFeatures()).name, "scalar");
}

TEST(KernelListTest, BestFirstScalarLast) {
  expect_sound_list(quantize_kernels());
  expect_sound_list(pilot_dot_kernels());
  expect_sound_list(score_rank_kernels());
  expect_sound_list(select_kernels());
  expect_sound_list(attend_kernels());
}

TEST(KernelListTest, Attend16IsBestFirstAndNeedsSomething) {
  // There is no portable kernel: where nothing is fast, f32 is.
  const std::vector<Attend16Kernel>& kernels = attend16_kernels();
  for (size_t i = 0; i < kernels.size(); ++i) {
    EXPECT_FALSE(kernels[i].needs == CpuFeatures());
    const KernelSet chosen = choose_kernels(kernels[i].needs, Precision::kFast);
    ASSERT_NE(chosen.attend16, nullptr);
    EXPECT_EQ(chosen.attend16->name, kernels[i].name);
  }
}

TEST(KernelListTest, PrecisionDecidesOnAttend16) {
  for (const IsaLevel& level : isa_levels()) {
    const KernelSet f32 = choose_kernels(level.features, Precision::kF32);
    const KernelSet fast = choose_kernels(level.features, Precision::kFast);
    EXPECT_EQ(f32.attend16, nullptr) << level.name;
    const bool fast_at_16_bits = level.name == "avx512bf16" || level.name == "bf16";
    EXPECT_EQ(fast.attend16 != nullptr, fast_at_16_bits) << level.name;
    EXPECT_EQ(f32.attend.name, fast.attend.name);
    EXPECT_EQ(f32.pilot_dot.name, fast.pilot_dot.name);
    EXPECT_EQ(f32.quantize.name, fast.quantize.name);
    EXPECT_EQ(f32.select.name, fast.select.name);
  }
}

TEST(KernelListTest, ListsEveryKernelOfEveryFamily) {
  const std::vector<KernelInfo> kernels = list_kernels();
  EXPECT_EQ(kernels.size(), quantize_kernels().size() + pilot_dot_kernels().size() +
                                score_rank_kernels().size() + select_kernels().size() +
                                project_kernels().size() + keep_kernels().size() +
                                attend_kernels().size() + attend16_kernels().size());
  std::set<std::string_view> families;
  for (const KernelInfo& kernel : kernels) {
    EXPECT_FALSE(kernel.name.empty());
    families.insert(kernel.family);
  }
  std::set<std::string_view> expected = {"quantize", "pilot_dot", "score_rank", "select",
                                         "project",  "keep",      "attend"};
  if (!attend16_kernels().empty()) expected.insert("attend16");
  EXPECT_EQ(families, expected);
}

TEST(KernelListTest, EveryIsaLevelFindsItsKernels) {
  // A kernel may need features that its level implies, but never more than the level offers: a
  // forced "avx2" must not fall back to scalar.
  const auto used = [](std::string_view isa) {
    for (const IsaLevel& level : isa_levels()) {
      if (level.name == isa) {
        return std::vector<std::string_view>{best_kernel(quantize_kernels(), level.features).name,
                                             best_kernel(pilot_dot_kernels(), level.features).name,
                                             best_kernel(score_rank_kernels(), level.features).name,
                                             best_kernel(select_kernels(), level.features).name,
                                             best_kernel(attend_kernels(), level.features).name};
      }
    }
    return std::vector<std::string_view>();
  };
  using Names = std::vector<std::string_view>;
  EXPECT_EQ(used("scalar"), (Names{"scalar", "scalar", "scalar", "scalar", "scalar"}));
#if defined(__x86_64__)
  EXPECT_EQ(used("avx2"), (Names{"avx2", "avx2", "avx2", "avx2", "avx2"}));
  EXPECT_EQ(used("avxvnni"), (Names{"avx2", "avxvnni", "avx2", "avx2", "avx2"}));
  EXPECT_EQ(used("avx512"), (Names{"avx512", "avx2", "avx512", "avx512", "avx512"}));
  EXPECT_EQ(used("avx512vnni"), (Names{"avx512", "avx512vnni", "avx512", "avx512", "avx512"}));
  EXPECT_EQ(used("avx512bf16"), (Names{"avx512", "avx512vnni", "avx512", "avx512", "avx512"}));
#elif defined(__aarch64__)
  // The integer families; pilot_dot alone has more than Advanced SIMD.
  const auto integers = [&used](std::string_view isa) {
    const Names names = used(isa);
    return Names(names.begin() + 1, names.begin() + 4);
  };
  EXPECT_EQ(integers("neon"), (Names{"neon", "neon", "neon"}));
  EXPECT_EQ(integers("dotprod"), (Names{"dotprod", "neon", "neon"}));
  EXPECT_EQ(integers("i8mm"), (Names{"i8mm", "neon", "neon"}));
  EXPECT_EQ(integers("bf16"), (Names{"i8mm", "neon", "neon"}));
#endif
}

TEST(KernelListTest, ListedNeedsCoverWhatTheCompilerMayUse) {
  // The ISA files are compiled with these flags; a kernel that asks for less could meet a machine
  // that lacks the rest.
#if defined(__x86_64__)
  const CpuFeatures avx2 = CpuFeature::kAvx2 | CpuFeature::kFma | CpuFeature::kF16c;
  for (const KernelInfo& kernel : list_kernels()) {
    if (kernel.name == "avx2") {
      EXPECT_TRUE(kernel.needs.covers(avx2)) << kernel.family;
    }
    if (kernel.name.substr(0, 6) == "avx512") {
      EXPECT_TRUE(kernel.needs.covers(avx2 | CpuFeature::kAvx512)) << kernel.family;
    }
    if (kernel.name == "avx512bf16") {
      EXPECT_TRUE(kernel.needs.covers(CpuFeature::kAvx512Vnni | CpuFeature::kAvx512Bf16));
    }
  }
#elif defined(__aarch64__)
  for (const KernelInfo& kernel : list_kernels()) {
    if (kernel.name != "scalar") {
      EXPECT_TRUE(kernel.needs.covers(CpuFeature::kNeon)) << kernel.family;
    }
    if (kernel.name == "dotprod") {
      EXPECT_TRUE(kernel.needs.covers(CpuFeature::kDotProd)) << kernel.family;
    }
    if (kernel.name == "i8mm") {
      EXPECT_TRUE(kernel.needs.covers(CpuFeature::kDotProd | CpuFeature::kI8mm)) << kernel.family;
    }
  }
#endif
}

}  // namespace
}  // namespace shadowattn
