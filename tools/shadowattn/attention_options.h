// The options of `run` and `demo` that become the plug-in's configuration.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "shadowattn/config.h"

namespace shadowattn::tool {

/// Collects "key=value" items while the command line is parsed.
class AttentionOptions {
 public:
  /// Adds --keep, --sink, … to `app`; this object must outlive the parsing.
  void add_to(CLI::App& app);
  /// Adds --mode.
  void add_mode_to(CLI::App& app);

  /// Defaults, changed by what was given.
  Config config() const;

 private:
  void add(CLI::App& app, const std::string& flag, const std::string& key, const std::string& help);

  std::string text_;
};

/// "shadow", "dense" or "off".
std::string mode_name(const Config& config);

/// Threads when none are asked for: one per core.
int default_threads();

/// Adds -t.
void add_threads_option(CLI::App& app, int& threads);

}  // namespace shadowattn::tool
