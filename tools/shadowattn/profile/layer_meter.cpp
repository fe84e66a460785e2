#include "profile/layer_meter.h"

#include <ggml-backend.h>

#include "common/interrupt.h"
#include "flash_attn.h"
#include "node_facts.h"
#include "profile/scale_buckets.h"
#include "shadowattn/device.h"

namespace shadowattn::tool {
namespace {

/// Operands on a device cannot be read in place.
bool in_host_memory(const ggml_tensor* node) {
  for (const ggml_tensor* source : node->src) {
    if (source == nullptr) continue;
    const ggml_tensor* owner = source->view_src != nullptr ? source->view_src : source;
    if (owner->buffer == nullptr || !ggml_backend_buffer_is_host(owner->buffer)) return false;
  }
  return true;
}

std::string refusal_of(const ggml_tensor* node) {
  plugin::HostGgml host;
  host.type_name = ggml_type_name;
  if (std::string reason = plugin::decline_reason(host, node, {}); !reason.empty()) return reason;
  if (!in_host_memory(node)) return "its operands are not in main memory";
  return plugin::FlashAttnNode(node).streams() == 1 ? "" : "it has several streams";
}

/// The node's call with an output of our own, contiguous.
AttentionCall call_of(const plugin::FlashAttnNode& attention, std::vector<float>& output) {
  AttentionCall call = attention.call(0);
  OutputView& out = call.output;
  out.row_stride = out.dim * static_cast<int64_t>(sizeof(float));
  out.head_stride = out.rows * out.row_stride;
  output.resize(static_cast<size_t>(out.heads * out.rows * out.dim));
  out.data = output.data();
  return call;
}

}  // namespace

void LayerMeter::check() const {
  if (error_) std::rethrow_exception(error_);
}

bool LayerMeter::wants(const ggml_tensor* node) const {
  return armed_ && node->op == GGML_OP_FLASH_ATTN_EXT && layers_.contains(plugin::layer_of(node));
}

void LayerMeter::measure(const ggml_tensor* node) {
  const int layer = plugin::layer_of(node);
  layers_.erase(layer);
  if (std::string reason = refusal_of(node); !reason.empty()) {
    refusal_ = std::move(reason);
    return;
  }
  const plugin::FlashAttnNode attention(node);
  const AttentionCall call = call_of(attention, output_);
  LayerProfile profile;
  profile.head_dim = static_cast<int32_t>(call.query.dim);
  profile.heads.resize(static_cast<size_t>(call.query.heads));
  const NeededScales needed = measure_scales(call, DeviceOptions().clip_share);
  profile.query_scales = scale_buckets(needed.query);
  profile.key_scales = scale_buckets(needed.key);
  profile.kv_heads = measure_kv_heads(call, options_, interrupted);
  on_layer_(layer, std::move(profile));
}

bool LayerMeter::on_node(ggml_tensor* node, bool ask, void* self) {
  auto& meter = *static_cast<LayerMeter*>(self);
  if (ask) return meter.wants(node);
  try {
    meter.measure(node);
  } catch (...) {
    meter.error_ = std::current_exception();
    meter.armed_ = false;
  }
  return true;
}

}  // namespace shadowattn::tool
