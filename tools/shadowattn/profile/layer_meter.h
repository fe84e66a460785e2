// Measures attention calls where they happen: while llama.cpp computes a graph, on its own memory.
#pragma once

#include <ggml.h>

#include <exception>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "profile/mass.h"
#include "shadowattn/profile.h"

namespace shadowattn::tool {

/// Give on_node and the object's address to the context. Nothing is measured before arm(). One
/// layer's operands are looked at while the graph waits; nothing of them is kept.
class LayerMeter {
 public:
  using OnLayer = std::function<void(int layer, LayerProfile profile)>;

  /// `layers`: to measure. `on_layer` gets each as soon as it is measured and may throw.
  LayerMeter(std::set<int> layers, MassOptions options, OnLayer on_layer)
      : layers_(std::move(layers)), options_(options), on_layer_(std::move(on_layer)) {}

  void arm() { armed_ = true; }
  /// Once the graph is done: throws what went wrong meanwhile, interruption included.
  void check() const;
  /// Why layers could not be measured; empty when none was refused.
  const std::string& refusal() const { return refusal_; }

  /// A ggml_backend_sched_eval_callback.
  static bool on_node(ggml_tensor* node, bool ask, void* self);

 private:
  bool wants(const ggml_tensor* node) const;
  void measure(const ggml_tensor* node);

  std::set<int> layers_;
  MassOptions options_;
  OnLayer on_layer_;
  bool armed_ = false;
  std::string refusal_;
  std::vector<float> output_;
  std::exception_ptr error_;  // llama.cpp is C: no exception may pass through it
};

}  // namespace shadowattn::tool
