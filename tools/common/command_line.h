// A program of subcommands: parsing, help, errors and exit statuses, the same for all of ours.
#pragma once

#include <span>

#include "common/command.h"

namespace shadowattn::tool {

struct Subcommand {
  const char* name;
  const char* description;
  const char* examples;  ///< shown under the options
  Action (*add)(CLI::App& app);
};

struct Program {
  const char* name;
  const char* description;
  const char* examples;
  std::span<const Subcommand> subcommands;
};

/// Parses the command line, runs the subcommand that it names and returns the exit status. Errors
/// go to standard error in one line.
int run_program(const Program& program, int argc, char** argv);

}  // namespace shadowattn::tool
