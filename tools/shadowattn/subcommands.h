// The subcommands of shadowattn. Each declares its options on `app` and returns what to do once
// they are parsed.
#pragma once

#include "common/command.h"

namespace shadowattn::tool {

Action add_run(CLI::App& app);
Action add_demo(CLI::App& app);
Action add_bench(CLI::App& app);
Action add_eval(CLI::App& app);
Action add_profile(CLI::App& app);
Action add_trace(CLI::App& app);
Action add_devices(CLI::App& app);

}  // namespace shadowattn::tool
