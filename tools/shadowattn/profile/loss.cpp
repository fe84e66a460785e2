#include "profile/loss.h"

#include <algorithm>
#include <cmath>

#include "common/failure.h"
#include "common/interrupt.h"

namespace shadowattn::tool {
namespace {

constexpr size_t kPart = 256;  // tokens at once: their logits are held, vocabulary floats each

int part_tokens(const std::vector<llama_token>& tokens) {
  return static_cast<int>(std::min(kPart, tokens.size()));
}

}  // namespace

double negative_log_likelihood(const float* logits, int32_t vocabulary, llama_token token) {
  const float largest = *std::max_element(logits, logits + vocabulary);
  double sum = 0;
  for (int32_t i = 0; i < vocabulary; ++i) sum += std::exp(logits[i] - largest);
  return std::log(sum) - (double{logits[token]} - double{largest});
}

LossMeter::LossMeter(LlamaRuntime& runtime, const PluginControl& plugin, const LlamaModel& model,
                     std::vector<llama_token> tokens, int threads)
    : runtime_(runtime),
      plugin_(plugin),
      model_(model),
      tokens_(std::move(tokens)),
      context_(runtime, model,
               {static_cast<int64_t>(tokens_.size()), part_tokens(tokens_), threads}) {}

double LossMeter::loss(const Ablation& ablation) {
  Config config;
  config.engine.mode = Mode::kDense;
  config.engine.precision = Precision::kF32;
  config.min_rows = 1;
  config.ablate = ablation;
  plugin_.configure(config);
  context_.truncate(0);
  double sum = 0;
  for (size_t first = 0; first < tokens_.size(); first += kPart) {
    if (interrupted()) throw Failure("interrupted", interrupted_status());
    std::vector<llama_token> part(
        tokens_.begin() + static_cast<std::ptrdiff_t>(first),
        tokens_.begin() + static_cast<std::ptrdiff_t>(std::min(first + kPart, tokens_.size())));
    std::vector<int8_t> wanted(part.size(), 1);
    llama_batch batch = {};
    batch.n_tokens = static_cast<int32_t>(part.size());
    batch.token = part.data();
    batch.logits = wanted.data();
    runtime_.take_error();
    const int32_t status = llama_decode(context_.get(), batch);
    llama_synchronize(context_.get());
    if (interrupted()) throw Failure("interrupted", interrupted_status());
    if (status != 0) {
      const std::string reason = runtime_.take_error();
      throw Failure("llama.cpp could not process the text (status " + std::to_string(status) + ")" +
                    (reason.empty() ? "" : ": " + reason));
    }
    sum += part_loss(first, part.size());
  }
  return sum / static_cast<double>(tokens_.size() - 1);
}

double LossMeter::part_loss(size_t first, size_t count) const {
  const int32_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model_.get()));
  double sum = 0;
  for (size_t i = 0; i < count && first + i + 1 < tokens_.size(); ++i) {
    const float* logits = llama_get_logits_ith(context_.get(), static_cast<int32_t>(i));
    if (logits == nullptr) throw Failure("llama.cpp gives no logits for this model");
    sum += negative_log_likelihood(logits, vocabulary, tokens_[first + i + 1]);
  }
  return sum;
}

}  // namespace shadowattn::tool
