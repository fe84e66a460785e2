#include "kernels/kernel_set.h"

#include "kernels/family.h"

namespace shadowattn {

KernelSet choose_kernels(CpuFeatures features, Precision precision) {
  KernelSet set{
      best_kernel(quantize_kernels(), features),   best_kernel(pilot_dot_kernels(), features),
      best_kernel(project_kernels(), features),    best_kernel(select_kernels(), features),
      best_kernel(score_rank_kernels(), features), best_kernel(keep_kernels(), features),
      best_kernel(attend_kernels(), features)};
  if (precision == Precision::kF32) return set;
  for (const Attend16Kernel& kernel : attend16_kernels()) {
    if (!features.covers(kernel.needs)) continue;
    set.attend16 = &kernel;
    break;
  }
  return set;
}

}  // namespace shadowattn
