// SmolLM2 with a fixed text, and how far the probabilities of two readings are apart.
//
// With quantised weights llama.cpp rounds activations to 8 bits as well, and a difference in the
// last bit of any attention output grows to a KL divergence of some thousandths. So "the same but
// for rounding" is measured, not assumed: by how far llama.cpp's two own attentions (flash
// attention, and three separate operators) are from each other on the same tokens.
#pragma once

#include "../plugin/llama_session.h"

namespace shadowattn::real_test {

using plugin_test::Context;
using plugin_test::Part;
using plugin_test::Rows;
using plugin_test::Tokens;

/// More than what rounding does to the mean KL divergence on any text here (0.003 to 0.004).
inline constexpr double kLargestRounding = 0.007;

/// Tokens of the text. Throws when it has fewer.
Tokens text_tokens(size_t begin, size_t count);

/// Mean of Σ p_i · (ln p_i - ln q_i) over positions, p of `expected`. Throws unless both have the
/// same positions, at least one.
double mean_kld(const Rows& expected, const Rows& actual);

/// Logits after the last `rows` of `tokens`, with the plug-in configured so, in a new context.
Rows read(const std::string& config, const Tokens& tokens, size_t rows);

/// As `read`, by llama.cpp's attention: flash attention, or three separate operators.
Rows read_by_host(const Tokens& tokens, size_t rows, llama_flash_attn_type flash_attn);

/// Layers of the model: the calls that one ubatch makes.
int64_t layers();

}  // namespace shadowattn::real_test
