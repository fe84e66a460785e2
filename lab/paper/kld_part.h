// What ways to attend do to the probabilities of next tokens, for experiments about quality.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "eval/methods.h"
#include "paper/experiment.h"

namespace shadowattn::tool::paper {

/// The texts in two halves that share no token: what is evaluated, and what shares and scales are
/// measured on before.
struct TextHalves {
  std::span<const llama_token> evaluated;
  std::span<const llama_token> other;
  bool one_text = false;  ///< both are of the same text, the beginning and the rest
};
/// With several texts the first and the last. Views the workbench.
TextHalves text_halves(const Workbench& workbench);

/// Tokens of the windows that measure_kld reads; 0: the text is too short.
int64_t kld_context(const Workbench& workbench);

/// Lists as the paper has them: the best tokens of every row by itself, none forced but the row's
/// own. `keep`: share of the tokens.
Config row_lists(const Workbench& workbench, double keep);

/// Mean KL divergence and more of each method from exact attention in f32, on windows of the
/// evaluated half. Throws Failure, also on Ctrl-C.
/// {"context", "windows", "tokens", "reference_ppl", "methods": [{"name", "config", "kept",
/// "mean_kld", "mean_kld_error", "p99_kld", "ppl", "same_top"}]}; kld in nats, shares in [0, 1].
Json measure_kld(const Workbench& workbench, std::vector<eval::Method> methods);

/// Of measure_kld's methods the one of this name, or null.
const Json* find_method(const Json* values, const std::string& name);

/// "KL divergence of …: 2,044 tokens in 4 windows of 1,024.", from measure_kld's values.
std::string kld_note(const Json& values);

/// "0.0123 ± 0.0004 nats"
std::string kld_text(const Json& method);

}  // namespace shadowattn::tool::paper
