#include "program.h"

#include <cstdio>
#include <exception>
#include <string>

#include "common/failure.h"

namespace shadowattn::bench {
namespace {

int parse_and_run(CLI::App& app, int argc, char** argv, const std::function<void()>& work) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& request) {  // --help
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    throw tool::Failure(std::string(error.what()) + " (see " + app.get_name() + " --help)",
                        tool::kExitUsage);
  }
  work();
  return tool::kExitOk;
}

}  // namespace

int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& work) {
  try {
    return parse_and_run(app, argc, argv, work);
  } catch (const tool::Failure& failure) {
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), failure.what());
    return failure.status();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: unexpected error: %s\n", app.get_name().c_str(), error.what());
  }
  return tool::kExitFailure;
}

}  // namespace shadowattn::bench
