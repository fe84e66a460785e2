// What a model makes of a text: its loss, with all attention or without some of it.
#pragma once

#include <functional>
#include <vector>

#include "common/llama_session.h"
#include "common/plugin_control.h"
#include "shadowattn/config.h"

namespace shadowattn::tool {

/// Reads the same tokens again and again in one context. `plugin` and `model` must outlive it.
class LossMeter {
 public:
  /// At least two tokens.
  LossMeter(LlamaRuntime& runtime, const PluginControl& plugin, const LlamaModel& model,
            std::vector<llama_token> tokens, int threads);

  /// Mean negative log-likelihood per token, in nats, of all tokens but the first, by exact
  /// attention without the heads of `ablation`. Throws Failure, also when interrupted.
  double loss(const Ablation& ablation);

 private:
  /// Sum over tokens `first` … of the part just read.
  double part_loss(size_t first, size_t count) const;

  LlamaRuntime& runtime_;
  const PluginControl& plugin_;
  const LlamaModel& model_;
  std::vector<llama_token> tokens_;
  LlamaContext context_;
};

/// -log softmax(logits)[token].
double negative_log_likelihood(const float* logits, int32_t vocabulary, llama_token token);

}  // namespace shadowattn::tool
