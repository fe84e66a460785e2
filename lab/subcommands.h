// The subcommands of shadowattn-lab. Each declares its options on `app` and returns what to do once
// they are parsed.
#pragma once

#include "common/command.h"

namespace shadowattn::tool {

Action add_paper(CLI::App& app);
Action add_simulate(CLI::App& app);
Action add_record(CLI::App& app);

}  // namespace shadowattn::tool
