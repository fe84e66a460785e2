// What every task works with: the model, the plug-in, and contexts that attend by one method.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/llama_session.h"
#include "common/plugin_control.h"
#include "eval/methods.h"

namespace shadowattn::tool::eval {

struct Workplace {
  LlamaRuntime& runtime;
  const PluginControl& plugin;
  const LlamaModel& model;
  int threads = 1;
  int ubatch = 512;
};

/// Throws Failure with Ctrl-C's status.
[[noreturn]] void throw_interrupted();

/// What was computed, and how long it took.
struct Work {
  int64_t calls = 0;
  int64_t visible_pairs = 0;  ///< (row, token) pairs that masks let through
  int64_t kept_pairs = 0;     ///< of these attended to
  double seconds = 0;

  Work& operator+=(const Work& more);
  Work operator-(const Work& before) const;
  /// 1 when nothing was visible.
  double kept_share() const;
};

/// A context whose attention is computed by one method. Several may be alive, and compute in turns.
class MethodContext {
 public:
  MethodContext(const Workplace& workplace, const Method& method, int64_t tokens);

  /// The plug-in says nothing of what it did: the reports here do.
  ~MethodContext() { workplace_.plugin.reset_report(); }
  MethodContext(const MethodContext&) = delete;
  MethodContext& operator=(const MethodContext&) = delete;

  const std::string& name() const { return method_.name; }

  /// As LlamaContext's; throw Failure also when Ctrl-C came.
  void append(std::span<const llama_token> tokens);
  void append_scored(std::span<const llama_token> tokens, size_t first);
  void truncate(int64_t count) { context_->truncate(count); }
  const LlamaContext& llama() const { return *context_; }

  /// Of append and append_scored so far; of llama.cpp's own attention only the seconds.
  const Work& work() const { return work_; }
  /// Share of the (row, token) pairs attended to so far, of those the mask lets through. Throws
  /// Failure when the plug-in computed nothing, or not by this method.
  double kept_share() const;
  double seconds() const { return work_.seconds; }  ///< in append and append_scored

 private:
  template <typename Append>
  void run(const Append& append);

  const Workplace& workplace_;
  const Method& method_;
  std::unique_ptr<LlamaContext> context_;
  Work work_;
};

}  // namespace shadowattn::tool::eval
