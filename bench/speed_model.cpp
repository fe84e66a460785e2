#include "speed_model.h"

#include <algorithm>
#include <cmath>

#include "common/gguf_writer.h"

namespace shadowattn::bench {
namespace {

constexpr int64_t kChunk = 1 << 20;  // elements generated and quantised at a time
constexpr int32_t kNormalToken = 1;  // llama.cpp's token types
constexpr int32_t kControlToken = 3;

// splitmix64 of a counter: any element can be had without the ones before it.
uint64_t random_bits(uint64_t seed, uint64_t counter) {
  uint64_t x = seed + (counter + 1) * 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

void fill_uniform(const ModelTensor& tensor, uint64_t seed, int64_t first,
                  std::vector<float>& out) {
  constexpr float kUnit = 1.0F / (1 << 23);
  for (size_t i = 0; i < out.size(); ++i) {
    const uint64_t bits = random_bits(seed, static_cast<uint64_t>(first) + i);
    const float x = static_cast<float>(bits >> 40) * kUnit - 1.0F;  // 24 bits: [-1, 1)
    out[i] = tensor.center + tensor.spread * x;
  }
}

int64_t element_count(const ModelTensor& tensor) {
  int64_t count = 1;
  for (const int64_t n : tensor.shape) count *= n;
  return count;
}

void write_tensor(const ModelTensor& tensor, uint64_t seed, tool::AtomicFile& file,
                  const std::function<void(int64_t count)>& on_chunk) {
  const int64_t columns = tensor.shape[0];
  const int64_t rows = element_count(tensor) / columns;
  const int64_t step = std::max<int64_t>(1, kChunk / columns);
  std::vector<float> values;
  std::vector<char> quantized;
  for (int64_t row = 0; row < rows; row += step) {
    const int64_t count = std::min(step, rows - row);
    values.resize(static_cast<size_t>(count * columns));
    fill_uniform(tensor, seed, row * columns, values);
    quantized.resize(static_cast<size_t>(count) * ggml_row_size(tensor.type, columns));
    ggml_quantize_chunk(tensor.type, values.data(), quantized.data(), 0, count, columns, nullptr);
    file.write(quantized.data(), quantized.size());
    on_chunk(count * columns);
  }
}

ggml_type embedding_type(ggml_type weights, int64_t columns) {
  if (weights != GGML_TYPE_Q4_0) return weights;
  return columns % ggml_blck_size(GGML_TYPE_Q6_K) == 0 ? GGML_TYPE_Q6_K : GGML_TYPE_Q8_0;
}

ModelTensor matrix(const std::string& name, ggml_type type, int64_t inputs, int64_t outputs) {
  // A uniform distribution's standard deviation is spread/sqrt(3).
  return {name, type, {inputs, outputs}, 0, std::sqrt(3.0F / static_cast<float>(inputs))};
}

ModelTensor norm(const std::string& name, int64_t size) {
  return {name, GGML_TYPE_F32, {size}, 1, 0};
}

void add_layer(const ModelShape& shape, ggml_type type, int32_t layer,
               std::vector<ModelTensor>& out) {
  const std::string prefix = "blk." + std::to_string(layer) + ".";
  const int64_t width = shape.width;
  const int64_t q = int64_t{shape.heads} * shape.head_dim;
  const int64_t kv = int64_t{shape.kv_heads} * shape.head_dim;
  const auto add_projection = [&](const char* name, int64_t outputs) {
    out.push_back(matrix(prefix + name + ".weight", type, width, outputs));
    if (shape.qkv_biases) out.push_back({prefix + name + ".bias", GGML_TYPE_F32, {outputs}, 0, 1});
  };
  out.push_back(norm(prefix + "attn_norm.weight", width));
  add_projection("attn_q", q);
  add_projection("attn_k", kv);
  add_projection("attn_v", kv);
  out.push_back(matrix(prefix + "attn_output.weight", type, q, width));
  out.push_back(norm(prefix + "ffn_norm.weight", width));
  out.push_back(matrix(prefix + "ffn_gate.weight", type, width, shape.ffn));
  out.push_back(matrix(prefix + "ffn_up.weight", type, width, shape.ffn));
  out.push_back(matrix(prefix + "ffn_down.weight", type, shape.ffn, width));
}

std::string utf8(uint32_t code) {  // below U+0800
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

// Byte-level BPE writes bytes that are no printable Latin-1 character as U+0100 and up, in order.
std::vector<std::string> byte_tokens() {
  std::vector<std::string> tokens;
  tokens.reserve(256);
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
    tokens.push_back(utf8(printable ? byte : next++));
  }
  return tokens;
}

// All bytes, made-up words that no text contains, one control token to end with; no merges. A text
// becomes one token a byte.
void set_tokenizer(gguf_context* gguf, const ModelShape& shape) {
  std::vector<std::string> tokens = byte_tokens();
  const auto vocab = static_cast<size_t>(shape.vocab);
  while (tokens.size() + 1 < vocab)
    tokens.push_back("<token" + std::to_string(tokens.size()) + ">");
  tokens.emplace_back("<|endoftext|>");
  std::vector<int32_t> types(vocab, kNormalToken);
  types.back() = kControlToken;
  std::vector<const char*> pointers;
  for (const std::string& token : tokens) pointers.push_back(token.c_str());
  gguf_set_val_str(gguf, "tokenizer.ggml.model", "gpt2");
  gguf_set_val_str(gguf, "tokenizer.ggml.pre", std::string(shape.pre_tokenizer).c_str());
  gguf_set_arr_str(gguf, "tokenizer.ggml.tokens", pointers.data(), pointers.size());
  gguf_set_arr_data(gguf, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types.data(), types.size());
  gguf_set_arr_str(gguf, "tokenizer.ggml.merges", nullptr, 0);
  gguf_set_val_u32(gguf, "tokenizer.ggml.eos_token_id", static_cast<uint32_t>(vocab - 1));
  gguf_set_val_u32(gguf, "tokenizer.ggml.bos_token_id", static_cast<uint32_t>(vocab - 1));
  gguf_set_val_bool(gguf, "tokenizer.ggml.add_bos_token", false);
}

uint32_t file_type(ggml_type weights) {  // llama.cpp's llama_ftype
  if (weights == GGML_TYPE_F16) return 1;
  return weights == GGML_TYPE_Q4_0 ? 2 : 7;
}

void set_metadata(gguf_context* gguf, const ModelShape& shape, ggml_type weights, uint32_t seed) {
  const std::string architecture(shape.architecture);
  const std::string name = std::string(shape.name) + ", random weights";
  gguf_set_val_str(gguf, "general.architecture", architecture.c_str());
  gguf_set_val_str(gguf, "general.name", name.c_str());
  gguf_set_val_str(
      gguf, "general.description",
      "Random weights in the shape of a published model, made by shadowattn to measure "
      "speed. It has learned nothing, and its attention is not that of a real model.");
  gguf_set_val_u32(gguf, "general.file_type", file_type(weights));
  gguf_set_val_u32(gguf, "general.quantization_version", GGML_QNT_VERSION);
  gguf_set_val_bool(gguf, "shadowattn.random_weights", true);
  gguf_set_val_u32(gguf, "shadowattn.seed", seed);
  const auto set_u32 = [&](const char* key, int32_t value) {
    gguf_set_val_u32(gguf, (architecture + "." + key).c_str(), static_cast<uint32_t>(value));
  };
  const auto set_f32 = [&](const char* key, float value) {
    gguf_set_val_f32(gguf, (architecture + "." + key).c_str(), value);
  };
  set_u32("block_count", shape.layers);
  set_u32("context_length", shape.context);
  set_u32("embedding_length", shape.width);
  set_u32("feed_forward_length", shape.ffn);
  set_u32("attention.head_count", shape.heads);
  set_u32("attention.head_count_kv", shape.kv_heads);
  set_u32("rope.dimension_count", shape.head_dim);
  set_u32("vocab_size", shape.vocab);
  set_f32("attention.layer_norm_rms_epsilon", shape.norm_eps);
  set_f32("rope.freq_base", shape.rope_base);
}

}  // namespace

const std::vector<ModelShape>& model_shapes() {
  static const std::vector<ModelShape> shapes = {
      {.name = "qwen2-0.5b",
       .architecture = "qwen2",
       .pre_tokenizer = "qwen2",
       .layers = 24,
       .width = 896,
       .heads = 14,
       .kv_heads = 2,
       .head_dim = 64,
       .ffn = 4864,
       .vocab = 151936,
       .context = 32768,
       .rope_base = 1e6F,
       .norm_eps = 1e-6F,
       .qkv_biases = true},
      {.name = "qwen2-1.5b",
       .architecture = "qwen2",
       .pre_tokenizer = "qwen2",
       .layers = 28,
       .width = 1536,
       .heads = 12,
       .kv_heads = 2,
       .head_dim = 128,
       .ffn = 8960,
       .vocab = 151936,
       .context = 32768,
       .rope_base = 1e6F,
       .norm_eps = 1e-6F,
       .qkv_biases = true},
      {.name = "smollm2-135m",
       .architecture = "llama",
       .pre_tokenizer = "smollm",
       .layers = 30,
       .width = 576,
       .heads = 9,
       .kv_heads = 3,
       .head_dim = 64,
       .ffn = 1536,
       .vocab = 49152,
       .context = 32768,  // the model's own 8192 would keep longer measurements from running
       .rope_base = 1e5F,
       .norm_eps = 1e-5F},
      {.name = "llama-3.2-1b",
       .architecture = "llama",
       .pre_tokenizer = "llama-bpe",
       .layers = 16,
       .width = 2048,
       .heads = 32,
       .kv_heads = 8,
       .head_dim = 64,
       .ffn = 8192,
       .vocab = 128256,
       .context = 131072,
       .rope_base = 5e5F,
       .norm_eps = 1e-5F},
  };
  return shapes;
}

std::vector<ModelTensor> model_tensors(const ModelShape& shape, ggml_type weights) {
  std::vector<ModelTensor> tensors;
  tensors.push_back(
      matrix("token_embd.weight", embedding_type(weights, shape.width), shape.width, shape.vocab));
  for (int32_t layer = 0; layer < shape.layers; ++layer) add_layer(shape, weights, layer, tensors);
  tensors.push_back(norm("output_norm.weight", shape.width));
  return tensors;
}

void write_speed_model(const std::string& path, const ModelShape& shape, ggml_type weights,
                       uint32_t seed, const std::function<void(int64_t done)>& on_progress) {
  const std::vector<ModelTensor> tensors = model_tensors(shape, weights);
  tool::GgufWriter writer;
  set_metadata(writer.metadata(), shape, weights, seed);
  set_tokenizer(writer.metadata(), shape);
  for (const ModelTensor& tensor : tensors) {
    writer.add_tensor(tensor.name, tensor.type, tensor.shape);
  }
  int64_t done = 0;
  writer.write(path, [&](int64_t index, tool::AtomicFile& file) {
    const uint64_t tensor_seed = random_bits(seed, static_cast<uint64_t>(index));
    write_tensor(tensors[static_cast<size_t>(index)], tensor_seed, file, [&](int64_t count) {
      done += count;
      on_progress(done);
    });
  });
}

}  // namespace shadowattn::bench
