// Whether options and operands are such that the engine can work with them. What
// `Engine::supports` answers is here too.
#pragma once

#include "shadowattn/attention.h"
#include "shadowattn/engine.h"
#include "shadowattn/status.h"

namespace shadowattn {

/// Ranges of all options, those of the device included.
Status check_options(const EngineOptions& options);

/// Whether operands that `Engine::supports` accepts have memory where they need it.
Status check_data(const AttentionCall& call);

}  // namespace shadowattn
