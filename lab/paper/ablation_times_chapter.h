// The chapter of the report about what the pipeline and fused heads save.
#pragma once

#include "paper/findings.h"
#include "trace/timeline.h"

namespace shadowattn::tool::paper {

/// A timeline of a part's values ("planned", "off"), as it is drawn; without events when there is
/// none. Events of unknown stages are left out.
TimelineCall timeline_call(const Json& values, const std::string& pipeline);

Chapter ablation_times_chapter(const Findings& findings);

}  // namespace shadowattn::tool::paper
