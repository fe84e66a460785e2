// The chapter of the report about processor time and energy.
#pragma once

#include "paper/findings.h"

namespace shadowattn::tool::paper {

Chapter energy_chapter(const Findings& findings);

}  // namespace shadowattn::tool::paper
