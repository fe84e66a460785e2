#include "attend.h"

#include <string>

#include "flash_attn.h"

namespace shadowattn::plugin {
namespace {

Status attend_stream(const AttentionCall& call, int layer, const AttendFn& preferred,
                     const AttendFn& dense, Report& report) {
  CallReport done;
  const Status first = preferred(call, &done);
  if (first.ok()) {
    report.add_call(layer, done);
    return {};
  }
  done = CallReport();
  Status second = dense(call, &done);
  if (second.ok()) report.add_call(layer, done, "failed: " + first.message());
  return second;
}

}  // namespace

Status attend_node(const ggml_tensor* node, const AttendFn& preferred, const AttendFn& dense,
                   Report& report) {
  const FlashAttnNode attention(node);
  const int layer = layer_of(node);
  for (int64_t stream = 0; stream < attention.streams(); ++stream) {
    Status status = attend_stream(attention.call(stream), layer, preferred, dense, report);
    if (!status.ok()) return status;
  }
  return {};
}

}  // namespace shadowattn::plugin
