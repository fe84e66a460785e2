#include "common/record_capture.h"

#include <ggml-backend.h>

#include "common/failure.h"

namespace shadowattn::tool {
namespace {

// A contiguous copy of `tensor`, of which only the first `rows` rows are taken.
OwnedTensor copy_of(const ggml_tensor* tensor, int64_t rows) {
  if (tensor->nb[0] != ggml_type_size(tensor->type) || tensor->ne[3] != 1) {
    throw Failure("this model lays out its attention in a way that cannot be recorded");
  }
  OwnedTensor copy;
  copy.type = tensor->type;
  copy.shape = {tensor->ne[0], rows};
  if (tensor->ne[2] > 1) copy.shape.push_back(tensor->ne[2]);
  const size_t row_bytes = ggml_row_size(tensor->type, tensor->ne[0]);
  copy.bytes.resize(row_bytes * static_cast<size_t>(rows * tensor->ne[2]));
  char* out = copy.bytes.data();
  for (int64_t head = 0; head < tensor->ne[2]; ++head) {
    for (int64_t row = 0; row < rows; ++row, out += row_bytes) {
      const size_t offset =
          static_cast<size_t>(head) * tensor->nb[2] + static_cast<size_t>(row) * tensor->nb[1];
      ggml_backend_tensor_get(tensor, out, offset, row_bytes);  // from any device
    }
  }
  return copy;
}

RecordedCall record(const ggml_tensor* node) {
  RecordedCall call;
  call.layer = plugin::layer_of(node);
  call.params = plugin::flash_attn_params(node);
  call.q = copy_of(node->src[0], node->src[0]->ne[1]);
  call.k = copy_of(node->src[1], node->src[1]->ne[1]);
  call.v = copy_of(node->src[2], node->src[2]->ne[1]);
  // llama.cpp may pad the mask's rows.
  if (node->src[3] != nullptr) call.mask = copy_of(node->src[3], node->src[0]->ne[1]);
  if (node->src[4] != nullptr) {
    call.sinks = copy_of(node->src[4], 1);
    call.sinks.shape.resize(1);
  }
  return call;
}

}  // namespace

const std::map<int, RecordedCall>& AttentionCapture::calls() const {
  if (error_) std::rethrow_exception(error_);
  return calls_;
}

bool AttentionCapture::wants(const ggml_tensor* node) const {
  if (!armed_ || node->op != GGML_OP_FLASH_ATTN_EXT) return false;
  const int layer = plugin::layer_of(node);
  return layers_.contains(layer) && !calls_.contains(layer);
}

bool AttentionCapture::on_node(ggml_tensor* node, bool ask, void* self) {
  auto& capture = *static_cast<AttentionCapture*>(self);
  if (ask) return capture.wants(node);
  try {
    RecordedCall call = record(node);
    capture.calls_.emplace(call.layer, std::move(call));
  } catch (...) {
    capture.error_ = std::current_exception();
    capture.armed_ = false;
  }
  return true;
}

}  // namespace shadowattn::tool
