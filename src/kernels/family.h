// What every kernel family shares: the choice of a kernel by CPU features.
#pragma once

#include <vector>

#include "shadowattn/cpu.h"

namespace shadowattn {

/// The first kernel of a best-first list that `features` can run. The last one, scalar, always can.
template <typename Kernel>
const Kernel& best_kernel(const std::vector<Kernel>& kernels, CpuFeatures features) {
  for (const Kernel& kernel : kernels) {
    if (features.covers(kernel.needs)) return kernel;
  }
  return kernels.back();
}

}  // namespace shadowattn
