#include "eval/attention_operands.h"

#include <string>

#include "common/failure.h"
#include "shadowattn/engine.h"

namespace shadowattn::tool::eval {
namespace {

ElementType element_type(ggml_type type) {
  switch (type) {
    case GGML_TYPE_F32:
      return ElementType::kF32;
    case GGML_TYPE_F16:
      return ElementType::kF16;
    case GGML_TYPE_Q8_0:
      return ElementType::kQ8_0;
    default:
      throw Failure(std::string("attention over ") + ggml_type_name(type) +
                    " cannot be evaluated; use a KV cache of f16 or q8_0");
  }
}

int64_t extent(const OwnedTensor& tensor, size_t dimension) {
  return dimension < tensor.shape.size() ? tensor.shape[dimension] : 1;
}

TensorView view_of(const OwnedTensor& tensor) {
  TensorView view;
  view.data = tensor.bytes.data();
  view.type = element_type(tensor.type);
  view.dim = extent(tensor, 0);
  view.rows = extent(tensor, 1);
  view.heads = extent(tensor, 2);
  view.row_stride = static_cast<int64_t>(ggml_row_size(tensor.type, view.dim));
  view.head_stride = view.row_stride * view.rows;
  return view;
}

}  // namespace

AttentionOperands::AttentionOperands(const RecordedCall& recorded) {
  if (recorded.params.max_bias > 0) {
    throw Failure("this model's attention has a bias by distance (ALiBi), which recall cannot " +
                  std::string("evaluate"));
  }
  call_.query = view_of(recorded.q);
  call_.key = view_of(recorded.k);
  call_.value = view_of(recorded.v);
  call_.scale = recorded.params.scale;
  call_.logit_softcap = recorded.params.logit_softcap;
  call_.layer = recorded.layer;
  if (!recorded.mask.empty()) {
    call_.mask.kind = MaskKind::kAdditive;
    call_.mask.additive = view_of(recorded.mask);
    call_.mask.additive.dim = call_.key.rows;
  }
  if (!recorded.sinks.empty()) {
    call_.sink_logits = reinterpret_cast<const float*>(recorded.sinks.bytes.data());
  }
  const int64_t heads = call_.query.heads;
  const int64_t dim = call_.value.dim;
  output_.resize(static_cast<size_t>(call_.query.rows * heads * dim));
  call_.output = {output_.data(),
                  heads,
                  call_.query.rows,
                  dim,
                  dim * static_cast<int64_t>(sizeof(float)),
                  heads * dim * static_cast<int64_t>(sizeof(float))};
  if (const Status status = Engine::supports(call_); !status.ok()) {
    throw Failure("this model's attention cannot be evaluated: " + status.message());
  }
}

}  // namespace shadowattn::tool::eval
