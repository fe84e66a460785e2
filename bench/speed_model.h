// Models with the shapes of published ones and seeded random weights, to measure speed where no
// checkpoint is at hand.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace shadowattn::bench {

/// What llama.cpp needs to know of an architecture. All of these tie output and token embedding.
struct ModelShape {
  std::string_view name;          ///< "qwen2-0.5b"
  std::string_view architecture;  ///< llama.cpp's: "qwen2" or "llama"
  std::string_view pre_tokenizer;
  int32_t layers = 0;
  int32_t width = 0;  ///< of the residual stream
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t ffn = 0;
  int32_t vocab = 0;    ///< tokens
  int32_t context = 0;  ///< tokens
  float rope_base = 0;
  float norm_eps = 0;
  bool qkv_biases = false;
};

const std::vector<ModelShape>& model_shapes();

struct ModelTensor {
  std::string name;  ///< llama.cpp's
  ggml_type type = GGML_TYPE_F32;
  std::vector<int64_t> shape;  ///< innermost first
  float center = 0;            ///< elements are uniform in [center - spread, center + spread)
  float spread = 0;
};

/// Every tensor of the model. Matrices get `weights` (q4_0, q8_0 or f16) or what llama-quantize
/// turns it into by default: next to q4_0 a tied embedding is q6_K, or q8_0 where its rows are not
/// multiples of 256. Matrices have a standard deviation of 1/sqrt(inputs), norms are 1.
std::vector<ModelTensor> model_tensors(const ModelShape& shape, ggml_type weights);

/// Writes the model; deterministic in all arguments. `on_progress` gets the number of elements
/// done and may throw to stop, which leaves no file. Throws tool::Failure.
void write_speed_model(const std::string& path, const ModelShape& shape, ggml_type weights,
                       uint32_t seed, const std::function<void(int64_t done)>& on_progress);

}  // namespace shadowattn::bench
