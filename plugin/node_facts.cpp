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

/// The number in "Qcur-<N>", "Qcur_normed-<N> (permuted)", …; -1 for other names.
int layer_of_queries(std::string_view name) {
  const size_t dash = name.rfind('-');
  if (dash == std::string_view::npos || (name[0] != 'Q' && name[0] != 'q')) return -1;
  name.remove_prefix(dash + 1);
  int layer = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  const bool ends = end == name.data() + name.size() || *end == ' ';
  return error == std::errc() && ends ? layer : -1;
}

/// The first of `tensor` and what it is made of that `wanted` takes; null when there is none.
template <typename Wanted>
const ggml_tensor* find_source(const ggml_tensor* tensor, const Wanted& wanted) {
  for (int depth = 0; tensor != nullptr && depth < kMaxViewDepth; ++depth) {
    if (wanted(tensor)) return tensor;
    tensor = tensor->view_src != nullptr ? tensor->view_src : tensor->src[0];
  }
  return nullptr;
}

}  // namespace

const ggml_tensor* cache_of(const ggml_tensor* node) {
  return find_source(node->src[1],
                     [](const ggml_tensor* t) { return layer_in_name(t->name) >= 0; });
}

int layer_of(const ggml_tensor* node) {
  const ggml_tensor* cache = cache_of(node);
  if (cache == nullptr) return -1;
  const ggml_tensor* queries = find_source(
      node->src[0], [](const ggml_tensor* t) { return layer_of_queries(t->name) >= 0; });
  return queries != nullptr ? layer_of_queries(queries->name) : layer_in_name(cache->name);
}

FlashAttnParams flash_attn_params(const ggml_tensor* node) {
  FlashAttnParams params;
  std::memcpy(&params, node->op_params, sizeof(params));
  return params;
}

}  // namespace shadowattn::plugin
