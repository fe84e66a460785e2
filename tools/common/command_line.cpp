#include "common/command_line.h"

#include <llama.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "common/failure.h"
#include "common/text.h"
#include "common/version.h"

namespace shadowattn::tool {
namespace {

// The command line, last argument first, as CLI11 takes it. llama.cpp's options of several letters
// behind one dash are understood as well: CLI11 would read them as several options.
std::vector<std::string> arguments(int argc, char** argv) {
  constexpr std::pair<const char*, const char*> kSpellings[] = {
      {"-ctk", "--cache-type-k"}, {"-ctv", "--cache-type-v"}, {"-fa", "--fa"}, {"-ub", "--ubatch"}};
  std::vector<std::string> all(argv + 1, argv + std::max(argc, 1));
  if (!all.empty() && all.front() == "bench") {
    for (const auto& [short_name, name] : kSpellings) {
      std::replace(all.begin(), all.end(), std::string(short_name), std::string(name));
    }
  }
  std::reverse(all.begin(), all.end());
  return all;
}

void print_error(const Program& program, const std::string& message) {
  std::fprintf(stderr, "%s: %s\n", program.name, one_line(message).c_str());
}

// "run, demo, devices"
std::string subcommand_names(const Program& program) {
  std::string names;
  for (const Subcommand& command : program.subcommands) {
    names.append(names.empty() ? "" : ", ").append(command.name);
  }
  return names;
}

[[noreturn]] void fail_usage(const Program& program, const CLI::App& app,
                             const CLI::ParseError& error) {
  const std::vector<const CLI::App*> chosen =
      app.get_subcommands([](const CLI::App* sub) { return sub->parsed(); });
  if (chosen.empty() && dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
    throw Failure("give one of the subcommands " + subcommand_names(program) + " (see " +
                      program.name + " --help)",
                  kExitUsage);
  }
  std::string help = program.name;
  for (const CLI::App* sub : chosen) help.append(" ").append(sub->get_name());
  throw Failure(std::string(error.what()) + " (see " + help + " --help)", kExitUsage);
}

int parse_and_run(const Program& program, int argc, char** argv) {
  CLI::App app(program.description, program.name);
  app.set_version_flag("--version", std::string(program.name) + " " + program_version() +
                                        " (llama.cpp " + llama_version() + ")");
  app.require_subcommand(1);
  app.footer(program.examples);
  std::vector<std::pair<const CLI::App*, Action>> actions;
  for (const Subcommand& command : program.subcommands) {
    CLI::App* sub = app.add_subcommand(command.name, command.description);
    sub->footer(command.examples);
    actions.emplace_back(sub, command.add(*sub));
  }
  try {
    app.parse(arguments(argc, argv));
  } catch (const CLI::Success& request) {  // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    fail_usage(program, app, error);
  }
  for (const auto& [sub, action] : actions) {
    if (sub->parsed()) return action();
  }
  return kExitUsage;
}

}  // namespace

int run_program(const Program& program, int argc, char** argv) {
  try {
    return parse_and_run(program, argc, argv);
  } catch (const Failure& failure) {
    print_error(program, failure.what());
    return failure.status();
  } catch (const std::bad_alloc&) {
    print_error(program, "out of memory; try a smaller model or a shorter text");
  } catch (const std::exception& error) {
    print_error(program, std::string("unexpected error: ") + error.what());
  }
  return kExitFailure;
}

}  // namespace shadowattn::tool
