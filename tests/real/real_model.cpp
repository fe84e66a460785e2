#include "real_model.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "../plugin/plugin_host.h"

namespace shadowattn::plugin_test {

std::string model_path() {
  const char* path = std::getenv("SHADOWATTN_MODEL");
  if (path == nullptr) throw std::runtime_error("SHADOWATTN_MODEL is unset; use with_model.sh");
  return path;
}

}  // namespace shadowattn::plugin_test

namespace shadowattn::real_test {
namespace {

constexpr uint32_t kCells = 2048;

// ln Σ e^logit. Exponentials in f32: exact to 1e-7, and fast enough for millions.
double log_sum(const std::vector<float>& logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) sum += static_cast<double>(std::exp(logit - largest));
  return static_cast<double>(largest) + std::log(sum);
}

double kld(const std::vector<float>& expected, const std::vector<float>& actual) {
  const double expected_sum = log_sum(expected);
  const double actual_sum = log_sum(actual);
  double sum = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double log_p = static_cast<double>(expected[i]) - expected_sum;
    const double log_q = static_cast<double>(actual[i]) - actual_sum;
    sum += static_cast<double>(std::exp(static_cast<float>(log_p))) * (log_p - log_q);
  }
  return sum;
}

}  // namespace

Tokens text_tokens(size_t begin, size_t count) {
  std::ifstream file(SHADOWATTN_TEXT);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const Tokens all = plugin_test::tokenize(text);
  if (begin + count > all.size()) throw std::runtime_error("the text is too short");
  const auto first = all.begin() + static_cast<ptrdiff_t>(begin);
  return {first, first + static_cast<ptrdiff_t>(count)};
}

double mean_kld(const Rows& expected, const Rows& actual) {
  if (expected.empty() || expected.size() != actual.size()) {
    throw std::runtime_error("not the same positions");
  }
  double sum = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) sum += kld(expected[i], actual[i]);
  return sum / static_cast<double>(expected.size());
}

Rows read(const std::string& config, const Tokens& tokens, size_t rows) {
  plugin_test::configure(config);
  Context context({.cells = kCells});
  plugin_test::reset_report();  // of the graphs that were only planned
  return context.decode_rows({{0, 0, tokens}}, rows)[0];
}

Rows read_by_host(const Tokens& tokens, size_t rows, llama_flash_attn_type flash_attn) {
  plugin_test::configure("mode=off");
  plugin_test::reset_report();
  Rows logits =
      Context({.cells = kCells, .flash_attn = flash_attn}).decode_rows({{0, 0, tokens}}, rows)[0];
  if (plugin_test::report()["totals"]["calls"] != 0) throw std::runtime_error("not the host's");
  return logits;
}

int64_t layers() { return llama_model_n_layer(plugin_test::model()); }

}  // namespace shadowattn::real_test
