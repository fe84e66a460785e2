// llama.cpp's C API with one model, as the model tests use it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "llama.h"

namespace shadowattn::plugin_test {

using Tokens = std::vector<llama_token>;
using Rows = std::vector<std::vector<float>>;  ///< logits of positions that follow each other

/// File of the model; every program that uses this header defines it.
std::string model_path();

/// The model; loads it (and the backends) on the first call. Throws when that fails.
llama_model* model();

/// Throws when llama.cpp cannot.
Tokens tokenize(const std::string& text);

/// Filler text of so many words, with `fact` in the middle and `question` at the end; the same for
/// the same seed.
Tokens make_prompt(int words, unsigned seed, const std::string& fact, const std::string& question);

/// Tokens of one sequence that are decoded together with those of others.
struct Part {
  llama_seq_id sequence = 0;
  llama_pos position = 0;  ///< of the first token
  Tokens tokens;
};

/// How the parts' tokens follow each other in a batch: part by part, or a token of each by turns.
enum class Order { kByPart, kByTurns };

class Context {
 public:
  struct Options {
    uint32_t cells = 4096;  ///< of the KV cache, for all sequences together
    uint32_t sequences = 1;
    bool unified = true;
    llama_flash_attn_type flash_attn = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    ggml_type cache_type = GGML_TYPE_F16;  ///< of keys and values
  };

  explicit Context(const Options& options);

  /// Decodes all parts in one batch; logits after the last token of each. Throws on failure.
  std::vector<std::vector<float>> decode(const std::vector<Part>& parts);
  /// The same with the logits after each of the last `rows` tokens of each part.
  std::vector<Rows> decode_rows(const std::vector<Part>& parts, size_t rows,
                                Order order = Order::kByPart);
  /// Decodes all parts in one batch, then `count` greedy tokens of each, all sequences together.
  std::vector<Tokens> generate(const std::vector<Part>& parts, int count);
  llama_memory_t memory() const { return llama_get_memory(context_.get()); }
  llama_context* get() const { return context_.get(); }

 private:
  std::unique_ptr<llama_context, decltype(&llama_free)> context_;
};

llama_token most_likely(const std::vector<float>& logits);

/// Squared difference over the squared spread of `expected` around its mean.
double logit_error(const std::vector<float>& expected, const std::vector<float>& actual);

}  // namespace shadowattn::plugin_test
