// A subcommand: its options, and what it does.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace shadowattn::tool {

/// Runs the subcommand and returns the exit status. Throws Failure.
using Action = std::function<int()>;

/// Each declares its options on `app` and returns what to do once they are parsed.
Action add_run(CLI::App& app);
Action add_demo(CLI::App& app);
Action add_bench(CLI::App& app);
Action add_devices(CLI::App& app);
Action add_profile(CLI::App& app);
Action add_record(CLI::App& app);
Action add_trace(CLI::App& app);
Action add_eval(CLI::App& app);
Action add_paper(CLI::App& app);
Action add_simulate(CLI::App& app);

}  // namespace shadowattn::tool
