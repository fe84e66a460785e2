// What every program here does around its work: options, errors, exit status.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace shadowattn::bench {

/// Parses the command line and runs `work`; what either throws becomes one line on standard error,
/// "<program>: <message>". Returns the exit status.
int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& work);

}  // namespace shadowattn::bench
