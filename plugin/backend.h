// One ggml backend: the engine of one llama_context.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>

#include "attend.h"
#include "ggml-backend.h"
#include "plugin_state.h"
#include "shadowattn/engine.h"
#include "shadowattn/executor.h"

namespace shadowattn::plugin {

/// Used by one thread at a time, as ggml backends are; different backends are independent.
class Backend {
 public:
  explicit Backend(PluginState& state);
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  ~Backend();

  /// How many threads the host wants; the config may say otherwise.
  void set_host_threads(int threads) { host_threads_ = threads; }

  /// Computes the nodes of a graph that the device claimed.
  ggml_status compute(ggml_cgraph* graph);

 private:
  /// The engine for one number of threads: hosts alternate between two (prompt and generation).
  struct Session {
    std::unique_ptr<Executor> executor;
    std::optional<Engine> engine;
    std::optional<Engine> dense;  ///< made when the engine fails
  };

  /// Takes note that a prompt with this node's cache was computed.
  void note_computed(const ggml_tensor* node);
  /// In a process that was forked off after threads had been started these are gone, and OpenMP
  /// would wait for them: sessions are left alone, and this thread does all the work.
  void check_process();
  int threads(const Config& config) const;
  /// A session for the settings in force.
  Result<Session*> session(const std::shared_ptr<const Settings>& settings);
  Status attend(const ggml_tensor* node, Session& session);
  /// By the session's engine, with what the config wants to know of it.
  Status attend_by_engine(const AttentionCall& call, int layer, Session& session,
                          CallReport* report);

  PluginState& state_;
  AttendContext context_;
  std::set<const ggml_tensor*> caches_;  ///< that prompts were computed with
  int host_threads_;
  bool forked_ = false;
  std::shared_ptr<const Settings> settings_;  ///< that sessions_ were made for
  Trace trace_;                      ///< of the call that runs; engines keep pointers to it
  std::map<int, Session> sessions_;  ///< by number of threads
};

}  // namespace shadowattn::plugin
