// The options of `run`, `demo`, `bench` and `trace` that become the plug-in's configuration.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "shadowattn/config.h"

namespace shadowattn::tool {

/// Collects "key=value" items while the command line is parsed.
class AttentionOptions {
 public:
  /// `defaults`: items that differ from the plug-in's own defaults, each with a comma behind it.
  explicit AttentionOptions(std::string defaults = "")
      : text_(std::move(defaults)), defaults_(text_.size()) {}

  /// Adds --attn-error, --keep, --sink, … to `app`; this object must outlive the parsing.
  void add_to(CLI::App& app);
  /// As add_to, without --attn-error, --keep, --pipeline and --min-rows, which the subcommand sets
  /// itself.
  void add_shared_to(CLI::App& app);
  /// Adds --output-error and --attn-error.
  void add_errors_to(CLI::App& app);
  /// Adds --mode.
  void add_mode_to(CLI::App& app);
  /// Adds --config: any keys of the plug-in but `reserved`, which the subcommand sets itself, and
  /// but those that have an option which does more (--profile).
  void add_config_to(CLI::App& app, std::vector<std::string> reserved);

  /// True when the command line sets this key of the configuration.
  bool given(const std::string& key) const;
  /// Defaults, changed by what was given, without a profile. Throws Failure.
  Config config() const;
  /// The same with the profile that --profile asks for, or the one beside the model: see
  /// choose_profile.
  Config config_for(const std::string& model) const;

 private:
  void add(CLI::App& app, const std::string& flag, const std::string& key, const std::string& help);

  std::string text_;
  size_t defaults_;  // bytes of text_ that were there before
  std::string profile_ = "auto";
};

/// What is wrong with the value of a key of the plug-in's configuration; "" when nothing is.
std::string config_problem(const std::string& key, const std::string& value);

/// Throws Failure when the config names a device that cannot be started here: the plug-in itself
/// would go on without it.
void check_device(const Config& config);

/// "shadow", "dense" or "off".
std::string mode_name(const Config& config);

/// Threads when none are asked for: one per core that this process may use (taskset).
int default_threads();

inline constexpr int kMostThreads = 1024;

/// Adds -t.
void add_threads_option(CLI::App& app, int& threads);

}  // namespace shadowattn::tool
