#include "flash_attn.h"

#include <cmath>

#include "shadowattn/engine.h"

namespace shadowattn::plugin {
namespace {

ElementType element_type(const ggml_tensor* tensor) {
  if (tensor->type == GGML_TYPE_Q8_0) return ElementType::kQ8_0;
  return tensor->type == GGML_TYPE_F16 ? ElementType::kF16 : ElementType::kF32;
}

/// [dim, rows, heads, streams] of ggml as the engine's [heads, rows, dim].
TensorView view_of(const ggml_tensor* tensor, int64_t stream) {
  TensorView view;
  view.type = element_type(tensor);
  view.heads = tensor->ne[2];
  view.rows = tensor->ne[1];
  view.dim = tensor->ne[0];
  view.head_stride = static_cast<int64_t>(tensor->nb[2]);
  view.row_stride = static_cast<int64_t>(tensor->nb[1]);
  // Null while a graph is only being planned.
  if (tensor->data != nullptr) {
    view.data =
        static_cast<const char*>(tensor->data) + stream * static_cast<int64_t>(tensor->nb[3]);
  }
  return view;
}

OutputView output_of(const ggml_tensor* node, int64_t stream) {
  OutputView view;
  view.heads = node->ne[1];
  view.rows = node->ne[2];
  view.dim = node->ne[0];
  view.head_stride = static_cast<int64_t>(node->nb[1]);
  view.row_stride = static_cast<int64_t>(node->nb[2]);
  if (node->data != nullptr) {
    view.data = reinterpret_cast<float*>(static_cast<char*>(node->data) +
                                         stream * static_cast<int64_t>(node->nb[3]));
  }
  return view;
}

Mask mask_of(const ggml_tensor* node, int64_t stream, const std::vector<float>& slopes) {
  Mask mask;
  const ggml_tensor* tensor = node->src[3];
  if (tensor == nullptr) return mask;
  mask.kind = MaskKind::kAdditive;
  mask.additive = view_of(tensor, stream % tensor->ne[3]);
  mask.additive.rows = node->src[0]->ne[1];  // llama.cpp may pad the mask's rows
  mask.additive.dim = node->src[1]->ne[1];
  mask.slopes = slopes.empty() ? nullptr : slopes.data();
  return mask;
}

/// One factor per head, as ggml-cpu computes them.
std::vector<float> alibi_slopes(int64_t heads, float max_bias) {
  if (max_bias <= 0.0F) return {};
  int64_t power = 1;
  while (power * 2 <= heads) power *= 2;
  const float base = std::pow(2.0F, -max_bias / static_cast<float>(power));
  const float half_base = std::pow(2.0F, -(max_bias / 2.0F) / static_cast<float>(power));
  std::vector<float> slopes;
  slopes.reserve(static_cast<size_t>(heads));
  for (int64_t head = 0; head < heads; ++head) {
    slopes.push_back(head < power
                         ? std::pow(base, static_cast<float>(head + 1))
                         : std::pow(half_base, static_cast<float>(2 * (head - power) + 1)));
  }
  return slopes;
}

bool rows_are_contiguous(const ggml_tensor* tensor) {
  size_t size = tensor->type == GGML_TYPE_F16 ? 2 : 4;  // of an element or a block
  if (tensor->type == GGML_TYPE_Q8_0) size = kQ8BlockBytes;
  return tensor->nb[0] == size;
}

std::string decline_types(const HostGgml& host, const ggml_tensor* node) {
  const auto name = [&host](const ggml_tensor* t) { return std::string(host.type_name(t->type)); };
  const auto is_float = [](const ggml_tensor* t) {
    return t->type == GGML_TYPE_F32 || t->type == GGML_TYPE_F16;
  };
  const auto is_float_or_q8_0 = [&](const ggml_tensor* t) {
    return is_float(t) || t->type == GGML_TYPE_Q8_0;
  };
  if (node->type != GGML_TYPE_F32) return "output type " + name(node);
  if (node->src[0]->type != GGML_TYPE_F32) return "q type " + name(node->src[0]);
  if (!is_float_or_q8_0(node->src[1])) return "k type " + name(node->src[1]);
  if (!is_float_or_q8_0(node->src[2])) return "v type " + name(node->src[2]);
  if (node->src[3] != nullptr && !is_float(node->src[3])) return "mask type " + name(node->src[3]);
  if (node->src[4] != nullptr && node->src[4]->type != GGML_TYPE_F32) {
    return "sinks type " + name(node->src[4]);
  }
  for (const ggml_tensor* source : {node->src[0], node->src[1], node->src[2], node->src[3]}) {
    if (source != nullptr && !rows_are_contiguous(source)) return "rows with gaps";
  }
  return {};
}

std::string decline_shapes(const ggml_tensor* node) {
  const ggml_tensor* q = node->src[0];
  const ggml_tensor* k = node->src[1];
  const ggml_tensor* v = node->src[2];
  const ggml_tensor* mask = node->src[3];
  if (k->ne[2] != v->ne[2]) return "k and v with different head counts";
  if (k->ne[1] != v->ne[1]) return "k and v of different length";
  if (k->ne[3] != q->ne[3] || v->ne[3] != q->ne[3]) return "different stream counts";
  if (mask != nullptr && (mask->ne[0] < k->ne[1] || mask->ne[1] < q->ne[1])) {
    return "mask smaller than the scores";
  }
  if (node->src[4] != nullptr && node->src[4]->ne[0] < q->ne[2]) return "too few sinks";
  return {};
}

}  // namespace

std::string decline_reason(const HostGgml& host, const ggml_tensor* node, const ClaimRule& rule) {
  if (node->src[0] == nullptr || node->src[1] == nullptr || node->src[2] == nullptr) {
    return "missing operands";
  }
  if (std::string reason = decline_types(host, node); !reason.empty()) return reason;
  if (std::string reason = decline_shapes(node); !reason.empty()) return reason;
  if (const Status status = Engine::supports(FlashAttnNode(node).call(0)); !status.ok()) {
    return status.message();
  }
  const int64_t rows = node->src[0]->ne[1];
  if (rows < rule.min_rows) return "fewer than " + std::to_string(rule.min_rows) + " rows";
  if (rows < kFewRows && node->src[1]->ne[1] < rule.min_keys_of_few) {
    return "few rows and fewer than " + std::to_string(rule.min_keys_of_few) + " keys";
  }
  return {};
}

FlashAttnNode::FlashAttnNode(const ggml_tensor* node)
    : node_(node), slopes_(alibi_slopes(node->src[0]->ne[2], flash_attn_params(node).max_bias)) {}

int64_t FlashAttnNode::streams() const { return node_->src[0]->ne[3]; }

AttentionCall FlashAttnNode::call(int64_t stream) const {
  const FlashAttnParams params = flash_attn_params(node_);
  AttentionCall call;
  call.query = view_of(node_->src[0], stream);
  call.key = view_of(node_->src[1], stream);
  call.value = view_of(node_->src[2], stream);
  call.output = output_of(node_, stream);
  call.mask = mask_of(node_, stream, slopes_);
  call.scale = params.scale;
  call.logit_softcap = params.logit_softcap;
  if (node_->src[4] != nullptr) {
    call.sink_logits = static_cast<const float*>(node_->src[4]->data);
  }
  return call;
}

}  // namespace shadowattn::plugin
