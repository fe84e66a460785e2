// The chapter of the report about prompts from end to end.
#pragma once

#include "paper/findings.h"

namespace shadowattn::tool::paper {

/// How many times as fast reading could be if attention, which takes `share` of its time, took none
/// (Amdahl); infinite when it is all.
double most_speedup(double attention_share);

Chapter prefill_chapter(const Findings& findings);

}  // namespace shadowattn::tool::paper
