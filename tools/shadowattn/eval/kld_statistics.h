// How far one model's next-token probabilities are from another's, as llama-perplexity's
// --kl-divergence measures it. With p the reference's probabilities, q the other's, t the token
// that came:
//
//   KLD = Σ p_i · (ln p_i - ln q_i)      Δp = q_t - p_t      PPL = exp(mean of -ln p_t)
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace shadowattn::tool::eval {

/// One position of the text.
struct TokenComparison {
  double reference_nll = 0;  ///< -ln p_t
  double nll = 0;            ///< -ln q_t
  double kld = 0;            ///< nats
  double delta_p = 0;        ///< -1 … 1
  bool same_top = false;     ///< both find the same token the most likely
};

/// Logits of one position; `token` came next. Both spans are of the vocabulary's size.
TokenComparison compare_logits(std::span<const float> reference, std::span<const float> other,
                               size_t token);

/// As compare_logits for each of `others`, into `results`, which has as many places.
void compare_logits(std::span<const float> reference,
                    std::span<const std::span<const float>> others, size_t token,
                    std::span<TokenComparison> results);

/// -ln p of `token`, of its position's logits.
double token_nll(std::span<const float> logits, size_t token);

/// A mean and its standard error.
struct Uncertain {
  double value = 0;
  double error = 0;
};

struct Quantiles {
  double max = 0, p99_9 = 0, p99 = 0, p95 = 0, p90 = 0, p75 = 0, median = 0;
  double p25 = 0, p10 = 0, p5 = 0, p1 = 0, p0_1 = 0, min = 0;
};

struct KldStatistics {
  size_t tokens = 0;
  Uncertain reference_ppl;
  Uncertain ppl;
  Uncertain ppl_ratio;     ///< PPL(Q) / PPL(reference)
  double correlation = 0;  ///< of ln PPL(Q) and ln PPL(reference) over tokens
  Uncertain kld;
  Quantiles kld_quantiles;
  Uncertain delta_p;
  Quantiles delta_p_quantiles;
  Uncertain rms_delta_p;
  Uncertain same_top;  ///< share of positions
};

/// All zero for no tokens.
KldStatistics kld_statistics(std::span<const TokenComparison> tokens);

/// The value below which `share` of the values lie, between two neighbours in proportion; `sorted`
/// is ascending. 0 for no values.
double percentile(std::span<const double> sorted, double share);

}  // namespace shadowattn::tool::eval
