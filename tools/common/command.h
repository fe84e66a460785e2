// A subcommand: its options, and what it does.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace shadowattn::tool {

/// Runs the subcommand and returns the exit status. Throws Failure.
using Action = std::function<int()>;

}  // namespace shadowattn::tool
