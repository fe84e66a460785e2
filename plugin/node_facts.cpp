#include "node_facts.h"

#include <charconv>
#include <cstring>
#include <string_view>

namespace shadowattn::plugin {
namespace {

// Views of views of the cache: no graph of llama.cpp nests them deeper than a few levels.
constexpr int kMaxViewDepth = 16;

/// The number in "cache_k_l<N>"; -1 for other names.
int layer_in_name(std::string_view name) {
  constexpr std::string_view kPrefix = "cache_k_l";
  if (!name.starts_with(kPrefix)) return -1;
  name.remove_prefix(kPrefix.size());
  int layer = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  return error == std::errc() ? layer : -1;
}

}  // namespace

int layer_of(const ggml_tensor* node) {
  const ggml_tensor* tensor = node->src[1];
  for (int depth = 0; tensor != nullptr && depth < kMaxViewDepth; ++depth) {
    if (const int layer = layer_in_name(tensor->name); layer >= 0) return layer;
    tensor = tensor->view_src != nullptr ? tensor->view_src : tensor->src[0];
  }
  return -1;
}

FlashAttnParams flash_attn_params(const ggml_tensor* node) {
  FlashAttnParams params;
  std::memcpy(&params, node->op_params, sizeof(params));
  return params;
}

}  // namespace shadowattn::plugin
