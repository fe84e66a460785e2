#include "profile/sub_call.h"

#include <algorithm>

namespace shadowattn::tool {
namespace {

TensorView heads_of(TensorView view, int64_t first, int64_t count) {
  view.data = static_cast<const char*>(view.data) + first * view.head_stride;
  view.heads = count;
  return view;
}

template <typename View>
View rows_from(View view, int64_t first) {
  view.rows -= first;
  if (view.data != nullptr) view.data = view.row(0, first);
  return view;
}

OutputView heads_of(OutputView view, int64_t first, int64_t count) {
  if (view.data != nullptr) view.data = view.row(first, 0);
  view.heads = count;
  return view;
}

}  // namespace

Result<AttentionCall> kv_head_call(const AttentionCall& call, int64_t kv_head) {
  const int64_t group = call.query.heads / call.key.heads;
  const int64_t first = kv_head * group;
  AttentionCall part = call;
  part.query = heads_of(call.query, first, group);
  part.key = heads_of(call.key, kv_head, 1);
  part.value = heads_of(call.value, kv_head, 1);
  part.output = heads_of(call.output, first, group);
  part.layer = -1;
  if (call.sink_logits != nullptr) part.sink_logits = call.sink_logits + first;
  if (call.mask.kind != MaskKind::kAdditive) return part;
  if (call.mask.slopes != nullptr) part.mask.slopes = call.mask.slopes + first;
  const int64_t masks = call.mask.additive.heads;  // query head h uses mask h % masks
  if (masks == 1) return part;
  if (masks % group != 0) return Status::unsupported("masks differ from head to head");
  part.mask.additive = heads_of(call.mask.additive, first % masks, group);
  return part;
}

AttentionCall last_rows(const AttentionCall& call, int64_t rows) {
  const int64_t first = std::max<int64_t>(call.query.rows - rows, 0);
  AttentionCall part = call;
  part.query = rows_from(call.query, first);
  part.output = rows_from(call.output, first);
  if (call.mask.kind == MaskKind::kCausal) part.mask.causal_offset += first;
  if (call.mask.kind == MaskKind::kAdditive) {
    part.mask.additive = rows_from(call.mask.additive, first);
  }
  return part;
}

}  // namespace shadowattn::tool
