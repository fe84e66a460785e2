#include "eval/kld_statistics.h"

#include <algorithm>
#include <cmath>

namespace shadowattn::tool::eval {
namespace {

struct Softmax {
  size_t top = 0;
  double log_sum = 0;  ///< ln p_i = logit_i - log_sum
};

Softmax softmax(std::span<const float> logits) {
  Softmax result;
  result.top = static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  const float highest = logits[result.top];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  result.log_sum = highest + std::log(sum);
  return result;
}

// Sums of a quantity over tokens, and of its products with another.
class Moments {
 public:
  void add(double x, double y = 0) {
    ++count_;
    x_ += x;
    y_ += y;
    xx_ += x * x;
    xy_ += x * y;
    yy_ += y * y;
  }

  Uncertain mean() const { return {x_ / count_, error(variance())}; }
  double variance() const { return std::max(0.0, xx_ / count_ - square(x_ / count_)); }
  double covariance() const { return xy_ / count_ - x_ / count_ * (y_ / count_); }
  double correlation() const {
    const double product = variance() * std::max(0.0, yy_ / count_ - square(y_ / count_));
    return product > 0 ? covariance() / std::sqrt(product) : 1.0;
  }

 private:
  static double square(double x) { return x * x; }
  double error(double variance) const {
    return count_ > 1 ? std::sqrt(variance / (count_ - 1)) : 0;
  }

  double count_ = 0, x_ = 0, y_ = 0, xx_ = 0, xy_ = 0, yy_ = 0;
};

// exp of a mean; its error to first order.
Uncertain exponential(Uncertain mean) {
  const double value = std::exp(mean.value);
  return {value, value * mean.error};
}

Quantiles quantiles(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) { return percentile(values, share); };
  return {at(1),    at(0.999), at(0.99), at(0.95), at(0.9),   at(0.75), at(0.5),
          at(0.25), at(0.1),   at(0.05), at(0.01), at(0.001), at(0)};
}

}  // namespace

double token_nll(std::span<const float> logits, size_t token) {
  return softmax(logits).log_sum - logits[token];
}

TokenComparison compare_logits(std::span<const float> reference, std::span<const float> other,
                               size_t token) {
  TokenComparison result;
  compare_logits(reference, std::span(&other, 1), token, std::span(&result, 1));
  return result;
}

// What is the reference's is computed once: with a large vocabulary it is most of the work.
void compare_logits(std::span<const float> reference,
                    std::span<const std::span<const float>> others, size_t token,
                    std::span<TokenComparison> results) {
  const Softmax p = softmax(reference);
  std::vector<double> log_sums;
  for (size_t k = 0; k < others.size(); ++k) {
    const Softmax q = softmax(others[k]);
    log_sums.push_back(q.log_sum);
    TokenComparison& result = results[k];
    result.reference_nll = p.log_sum - reference[token];
    result.nll = q.log_sum - others[k][token];
    result.kld = 0;
    result.delta_p = std::exp(-result.nll) - std::exp(-result.reference_nll);
    result.same_top = p.top == q.top;
  }
  for (size_t i = 0; i < reference.size(); ++i) {
    const double log_p = reference[i] - p.log_sum;
    const double share = std::exp(static_cast<float>(log_p));
    if (!(share > 0)) continue;
    for (size_t k = 0; k < others.size(); ++k) {
      results[k].kld += share * (log_p - (others[k][i] - log_sums[k]));
    }
  }
  // What is below 0 is rounding.
  for (TokenComparison& result : results) result.kld = std::max(result.kld, 0.0);
}

double percentile(std::span<const double> sorted, double share) {
  if (sorted.empty()) return 0;
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = std::min(static_cast<size_t>(place), sorted.size() - 1);
  const double part = place - static_cast<double>(below);
  const double above = sorted[std::min(below + 1, sorted.size() - 1)];
  return part > 0 ? (1 - part) * sorted[below] + part * above : sorted[below];
}

KldStatistics kld_statistics(std::span<const TokenComparison> tokens) {
  KldStatistics result;
  result.tokens = tokens.size();
  if (tokens.empty()) return result;
  Moments reference;
  Moments both;
  Moments ratio;
  Moments kld;
  Moments delta_p;
  Moments squares;
  Moments same_top;
  std::vector<double> klds;
  std::vector<double> deltas;
  for (const TokenComparison& token : tokens) {
    reference.add(token.reference_nll);
    both.add(token.nll, token.reference_nll);
    ratio.add(token.nll - token.reference_nll);
    kld.add(token.kld);
    delta_p.add(token.delta_p);
    squares.add(token.delta_p * token.delta_p);
    same_top.add(token.same_top ? 1 : 0);
    klds.push_back(token.kld);
    deltas.push_back(token.delta_p);
  }
  result.reference_ppl = exponential(reference.mean());
  result.ppl = exponential(both.mean());
  result.ppl_ratio = exponential(ratio.mean());
  result.correlation = both.correlation();
  result.kld = kld.mean();
  result.kld_quantiles = quantiles(std::move(klds));
  result.delta_p = delta_p.mean();
  result.delta_p_quantiles = quantiles(std::move(deltas));
  const Uncertain square = squares.mean();
  result.rms_delta_p.value = std::sqrt(square.value);
  if (square.value > 0) result.rms_delta_p.error = 0.5 * square.error / result.rms_delta_p.value;
  result.same_top = same_top.mean();
  return result;
}

}  // namespace shadowattn::tool::eval
