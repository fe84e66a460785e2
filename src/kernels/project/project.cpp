#include "kernels/project/project.h"

namespace shadowattn {

// Addresses only: code of an ISA file must not run on a machine that lacks the ISA.
#define SHADOWATTN_KERNEL(name, needs)          \
  void project_rows_##name(const ProjectRows&); \
  bool project_quantize_##name(const float*, int64_t, int64_t, int64_t, int8_t*, float*);
#include "kernels/project/kernels.inc"
#undef SHADOWATTN_KERNEL

const std::vector<ProjectKernel>& project_kernels() {
  static const std::vector<ProjectKernel> kernels = {
#define SHADOWATTN_KERNEL(name, needs) {#name, needs, project_rows_##name, project_quantize_##name},
#include "kernels/project/kernels.inc"
#undef SHADOWATTN_KERNEL
  };
  return kernels;
}

}  // namespace shadowattn
