#pragma once

#include "kernels/pilot_dot/pilot_dot.h"

namespace shadowattn::test {

/// x86-64 only: the AVX-VNNI kernel for processors with AVX2 alone.
PilotDotKernel emulated_avxvnni();

}  // namespace shadowattn::test
