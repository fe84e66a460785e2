// The kernels of one engine: of each family the best that the processor runs.
#pragma once

#include "kernels/attend/attend.h"
#include "kernels/attend16/attend16.h"
#include "kernels/keep/keep.h"
#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/project/project.h"
#include "kernels/quantize/quantize.h"
#include "kernels/score_rank/score_rank.h"
#include "kernels/select/select.h"
#include "shadowattn/cpu.h"
#include "shadowattn/engine.h"

namespace shadowattn {

struct KernelSet {
  QuantizeKernel quantize;
  PilotDotKernel pilot_dot;
  ProjectKernel project;
  SelectKernel select;
  ScoreRankKernel score_rank;
  KeepKernel keep;
  AttendKernel attend;
  const Attend16Kernel* attend16 = nullptr;  ///< null: f32 only
};

KernelSet choose_kernels(CpuFeatures features, Precision precision);

}  // namespace shadowattn
