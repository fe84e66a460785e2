// When the NPU and each core do what in one predicted call, for a picture.
#pragma once

#include "simulate/attention_call.h"
#include "trace/timeline.h"

namespace shadowattn::tool::simulate {

/// Ends when predict (predict_serial without a pipeline) says, but for rounding to whole ns; starts
/// at 0. `cores`: lanes of the CPU; a team that works on one head together fills all of them.
TimelineCall schedule_call(const CallWork& call, PipelineMode pipeline, int cores);

}  // namespace shadowattn::tool::simulate
