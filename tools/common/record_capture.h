// Copies the operands of attention nodes while llama.cpp computes a graph.
#pragma once

#include <ggml.h>

#include <exception>
#include <map>
#include <set>

#include "common/recording.h"

namespace shadowattn::tool {

/// Give on_node and the object's address to the context. Nothing is recorded before arm().
class AttentionCapture {
 public:
  explicit AttentionCapture(std::set<int> layers) : layers_(std::move(layers)) {}

  void arm() { armed_ = true; }
  /// Of the chosen layers, the first call since arm(). Throws what went wrong while copying.
  const std::map<int, RecordedCall>& calls() const;

  /// A ggml_backend_sched_eval_callback.
  static bool on_node(ggml_tensor* node, bool ask, void* self);

 private:
  bool wants(const ggml_tensor* node) const;

  std::set<int> layers_;
  bool armed_ = false;
  std::map<int, RecordedCall> calls_;
  std::exception_ptr error_;  // llama.cpp is C: no exception may pass through it
};

}  // namespace shadowattn::tool
