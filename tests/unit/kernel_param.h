// Tests that run once per kernel of a family's list: a kernel that is listed is tested.
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "shadowattn/cpu.h"

namespace shadowattn {

/// For GoogleTest, which would print bytes.
inline void PrintTo(const IsaLevel& level, std::ostream* out) { *out << level.name; }

template <typename Kernel>
requires requires(const Kernel& kernel) { kernel.needs.bits(); }
void PrintTo(const Kernel& kernel, std::ostream* out) { *out << kernel.name; }

}  // namespace shadowattn

namespace shadowattn::test {

/// A kernel × a case. `label` becomes part of the test's name.
template <typename Kernel, typename Case>
struct KernelParam {
  Kernel kernel;
  std::string label;
  Case data;

  friend void PrintTo(const KernelParam& param, std::ostream* out) { *out << param.label; }
};

/// All pairs of kernels (or variants of the engine) and cases; a case must have a member `label`.
template <typename Kernel, typename Case>
std::vector<KernelParam<Kernel, Case>> cross(const std::vector<Kernel>& kernels,
                                             const std::vector<Case>& cases) {
  std::vector<KernelParam<Kernel, Case>> params;
  for (const Kernel& kernel : kernels) {
    for (const Case& data : cases) {
      params.push_back({kernel, std::string(kernel.name) + "_" + data.label, data});
    }
  }
  return params;
}

template <typename Kernel>
std::string kernel_name(const testing::TestParamInfo<Kernel>& info) {
  return std::string(info.param.name);
}

template <typename Param>
std::string param_label(const testing::TestParamInfo<Param>& info) {
  return info.param.label;
}

inline bool runs_here(CpuFeatures needs) { return detect_cpu_features().covers(needs); }

}  // namespace shadowattn::test

/// Skips the test, visibly, where this machine cannot run the kernel.
#define SHADOWATTN_SKIP_UNLESS_RUNS_HERE(kernel)                                   \
  if (!shadowattn::test::runs_here((kernel).needs)) {                              \
    GTEST_SKIP() << "kernel " << (kernel).name << " needs "                        \
                 << shadowattn::to_string((kernel).needs) << "; this machine has " \
                 << shadowattn::to_string(shadowattn::detect_cpu_features());      \
  }
