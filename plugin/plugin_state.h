// What all backends of the process share: the host's functions, the config and the report.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "host_ggml.h"
#include "report.h"
#include "shadowattn/config.h"
#include "shadowattn/status.h"
#include "trace_log.h"

namespace shadowattn::plugin {

/// A config in force. Never changes; another config is another object. A config that a backend
/// still has is the same object again, so that contexts of different configs can take turns and
/// keep what their engines have learnt.
struct Settings {
  std::string asked{};              ///< the config's text, before its profile was read
  Config config;                    ///< with its profile read
  std::string isa;                  ///< name of the level in use
  const char* description = "";     ///< of the device; valid until the process ends
  std::shared_ptr<TraceLog> trace;  ///< null: no timeline is wanted
};

/// Safe to use from several threads.
class PluginState {
 public:
  explicit PluginState(const HostGgml& host);

  const HostGgml& host() const { return host_; }
  Report& report() { return report_; }
  std::shared_ptr<const Settings> settings() const;

  /// Takes the environment variable SHADOWATTN. What is wrong with it is printed; then nothing is
  /// claimed, or, if only the report's file is at fault, no report is written.
  void configure_from_environment();
  /// Takes a config string, or changes nothing and says why.
  Status configure(std::string_view text);

  /// Caches that a backend has computed a prompt with: their contexts are no longer trying out
  /// whether the device takes flash attention. A backend that is freed takes its caches back.
  void add_cache(const void* cache);
  void remove_cache(const void* cache);
  bool knows_cache(const void* cache) const;

  /// False in a process that was forked from one in which this was asked before.
  bool may_use_threads();

  std::string report_json() const;
  /// The timeline so far, which is then forgotten; without events where none is wanted.
  std::string take_trace_json();
  /// Writes report and timeline where files were asked for; prints what goes wrong.
  void write_files();
  /// Prints in a line what sparsity cost, where rows were sampled.
  void print_quality();
  /// The host's log may be gone by now: from here on messages go to stderr.
  void leave_log() { host_.log = nullptr; }

  /// The number of a new backend, from 1.
  int32_t next_backend() { return ++backends_; }
  /// Prints why a device does not do its part; every reason once.
  void note_device(const std::string& reason) { warn_once(reason + "; the CPU does its part"); }

 private:
  Status apply(Config config);
  /// Reads the profile that the config names. A bad one is no reason to stop: it is reported and
  /// taken out of the config.
  void take_profile(Config& config);
  void warn_once(const std::string& message);
  std::shared_ptr<TraceLog> trace_for(const Config& config) const;
  void apply_disabled(std::string_view why);
  /// Goes back to the settings of the same config that are still alive, if there are any. Those
  /// with a timeline are left alone: each belongs to a file.
  bool use_again(const std::string& asked);
  void set_settings(Settings settings, std::string description);

  HostGgml host_;
  Report report_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Settings> settings_;
  std::vector<std::weak_ptr<const Settings>> earlier_;  ///< of all configs; some are gone
  std::deque<std::string> descriptions_;                ///< hosts keep pointers to all of them
  std::mutex write_mutex_;
  std::multiset<const void*> caches_;
  std::atomic<pid_t> threads_in_{0};  ///< the process that started threads; 0: none yet
  std::atomic<int32_t> backends_{0};
  std::set<std::string> printed_;  ///< messages of warn_once
};

/// The state of this process, made on the first call with the ggml that `caller` uses. Null, after
/// a message, when there is no ggml that the plug-in knows. Never destroyed: hosts may free
/// backends while the process ends.
PluginState* shared_state(const void* caller = nullptr);

}  // namespace shadowattn::plugin
