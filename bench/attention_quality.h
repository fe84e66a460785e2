// How far an attention is from the exact one: retained softmax mass and error of the output.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "shadowattn/attention.h"
#include "shadowattn/engine.h"
#include "shadowattn/executor.h"

namespace shadowattn::bench {

/// Dense attention in double precision.
struct ExactAttention {
  std::vector<double> output;   ///< [n_q][H][D_v]
  std::vector<double> log_sum;  ///< [n_q][H]: log Σ_j exp(logit_j), sinks left out; -inf: sees none
};
/// `on_head` is called after each KV head and may throw to stop.
ExactAttention exact_attention(const AttentionCall& call, Executor& executor,
                               const std::function<void()>& on_head);

/// ‖output - exact‖ / ‖exact‖ over all elements.
double relative_error(std::span<const float> output, const ExactAttention& exact);

/// Share of each (row, head)'s softmax mass, [n_q · H], that lies on the tokens that the engine
/// attends to; rows that see nothing are left out. Measured from outside: with values of 1 and one
/// sink logit s the output is K / (K + e^s), where K is the sum of exponentials kept. Throws
/// tool::Failure.
std::vector<double> retained_mass(Engine& engine, const AttentionCall& call,
                                  const ExactAttention& exact);

}  // namespace shadowattn::bench
