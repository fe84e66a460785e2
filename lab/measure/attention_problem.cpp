#include "measure/attention_problem.h"

#include <cmath>
#include <cstring>
#include <new>
#include <random>

#include "common/failure.h"
#include "kernels/half.h"

namespace shadowattn::tool::measure {
namespace {

constexpr uint16_t kHalfMinusInfinity = 0xFC00;

int64_t extent(const OwnedTensor& tensor, size_t dimension) {
  return dimension < tensor.shape.size() ? tensor.shape[dimension] : 1;
}

// [dim, rows, heads] with the rows of one token's heads side by side. Not allocated yet.
ggml_tensor* interleaved(ggml_context* context, const OwnedTensor& source) {
  ggml_tensor* tokens = ggml_new_tensor_3d(context, source.type, extent(source, 0),
                                           extent(source, 2), extent(source, 1));
  return ggml_permute(context, tokens, 0, 2, 1, 3);
}

void fill_interleaved(ggml_tensor* view, const OwnedTensor& source) {
  const size_t row_bytes = ggml_row_size(source.type, source.shape[0]);
  const char* from = source.bytes.data();
  for (int64_t head = 0; head < view->ne[2]; ++head) {
    for (int64_t row = 0; row < view->ne[1]; ++row, from += row_bytes) {
      char* to = static_cast<char*>(view->data) + static_cast<size_t>(head) * view->nb[2] +
                 static_cast<size_t>(row) * view->nb[1];
      std::memcpy(to, from, row_bytes);
    }
  }
}

ggml_tensor* contiguous(ggml_context* context, const OwnedTensor& source) {
  if (source.empty()) return nullptr;
  return ggml_new_tensor(context, source.type, static_cast<int>(source.shape.size()),
                         source.shape.data());
}

void fill_contiguous(ggml_tensor* tensor, const OwnedTensor& source) {
  if (tensor != nullptr) std::memcpy(tensor->data, source.bytes.data(), source.bytes.size());
}

template <typename Element>
OwnedTensor owned(ggml_type type, std::vector<int64_t> shape,
                  const std::vector<Element>& elements) {
  OwnedTensor tensor{type, std::move(shape), std::vector<char>(elements.size() * sizeof(Element))};
  std::memcpy(tensor.bytes.data(), elements.data(), tensor.bytes.size());
  return tensor;
}

std::vector<uint16_t> random_halves(std::mt19937& generator, int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<uint16_t> halves(static_cast<size_t>(count));
  for (uint16_t& x : halves) x = float_to_half(normal(generator));
  return halves;
}

std::vector<uint16_t> causal_mask(int64_t keys, int64_t rows) {
  std::vector<uint16_t> mask(static_cast<size_t>(keys * rows), 0);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t key = keys - rows + row + 1; key < keys; ++key) {
      mask[static_cast<size_t>(row * keys + key)] = kHalfMinusInfinity;
    }
  }
  return mask;
}

}  // namespace

GgmlCpu::GgmlCpu(int threads)
    : backend_(ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr)) {
  if (!backend_) throw Failure("llama.cpp's CPU backend does not start");
  ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(ggml_backend_get_device(get()));
  const auto set_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(
      ggml_backend_reg_get_proc_address(registry, "ggml_backend_set_n_threads"));
  if (set_threads == nullptr) throw Failure("llama.cpp's CPU backend takes no number of threads");
  set_threads(get(), threads);
}

std::string GgmlCpu::processor() const {
  return ggml_backend_dev_description(ggml_backend_get_device(get()));
}

RecordedCall random_call(const RandomShape& shape) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> q(static_cast<size_t>(shape.dim * shape.rows * shape.heads));
  for (float& x : q) x = normal(generator);
  const int64_t kv = shape.dim * shape.keys * shape.kv_heads;
  const std::vector<int64_t> kv_shape = {shape.dim, shape.keys, shape.kv_heads};
  RecordedCall call;
  call.params.scale = 1.0F / std::sqrt(static_cast<float>(shape.dim));
  call.q = owned(GGML_TYPE_F32, {shape.dim, shape.rows, shape.heads}, q);
  call.k = owned(GGML_TYPE_F16, kv_shape, random_halves(generator, kv));
  call.v = owned(GGML_TYPE_F16, kv_shape, random_halves(generator, kv));
  call.mask = owned(GGML_TYPE_F16, {shape.keys, shape.rows}, causal_mask(shape.keys, shape.rows));
  return call;
}

AttentionProblem::AttentionProblem(const RecordedCall& recorded, const GgmlCpu& backend)
    : backend_(backend.get()) {
  constexpr size_t kMostTensors = 16;
  const ggml_init_params params = {
      kMostTensors * ggml_tensor_overhead() + ggml_graph_overhead_custom(kMostTensors, false),
      nullptr, /*no_alloc=*/true};
  context_.reset(ggml_init(params));
  if (!context_) throw std::bad_alloc();
  ggml_tensor* q = interleaved(context_.get(), recorded.q);
  ggml_tensor* k = interleaved(context_.get(), recorded.k);
  ggml_tensor* v = interleaved(context_.get(), recorded.v);
  ggml_tensor* mask = contiguous(context_.get(), recorded.mask);
  ggml_tensor* sinks = contiguous(context_.get(), recorded.sinks);
  node_ = ggml_flash_attn_ext(context_.get(), q, k, v, mask, recorded.params.scale,
                              recorded.params.max_bias, recorded.params.logit_softcap);
  ggml_prec_set_acc(node_, GGML_PREC_F32);  // as llama.cpp does
  if (sinks != nullptr) ggml_flash_attn_ext_add_sinks(node_, sinks);
  graph_ = ggml_new_graph_custom(context_.get(), kMostTensors, false);
  ggml_build_forward_expand(graph_, node_);
  plugin::HostGgml host;
  host.type_name = ggml_type_name;
  if (const std::string reason = plugin::decline_reason(host, node_, {}); !reason.empty()) {
    throw Failure("shadowattn cannot take this attention: " + reason);
  }
  buffer_.reset(ggml_backend_alloc_ctx_tensors(context_.get(), backend_));
  if (!buffer_) throw std::bad_alloc();
  fill_interleaved(q, recorded.q);
  fill_interleaved(k, recorded.k);
  fill_interleaved(v, recorded.v);
  fill_contiguous(mask, recorded.mask);
  fill_contiguous(sinks, recorded.sinks);
  flash_attn_.emplace(node_);
}

void AttentionProblem::run_ggml() const {
  if (ggml_backend_graph_compute(backend_, graph_) != GGML_STATUS_SUCCESS) {
    throw Failure("ggml could not compute this attention");
  }
}

std::span<const float> AttentionProblem::output() const {
  return {static_cast<const float*>(node_->data), static_cast<size_t>(ggml_nelements(node_))};
}

}  // namespace shadowattn::tool::measure
