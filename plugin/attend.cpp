#include "attend.h"

#include <time.h>

#include <algorithm>
#include <string>

#include "flash_attn.h"

namespace shadowattn::plugin {
namespace {

/// Of all threads of this process.
int64_t process_cpu_ns() {
  timespec time{};
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) != 0) return 0;
  return int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

Status attend_stream(const AttentionCall& call, int32_t context, const AttendFn& preferred,
                     const AttendFn& dense, Report& report) {
  CallReport done;
  const bool timed = call.query.rows >= kFewRows;  // reading the clock twice costs a microsecond
  const int64_t start = timed ? process_cpu_ns() : 0;
  const Status first = preferred(call, &done);
  if (first.ok()) {
    const int64_t spent = timed ? process_cpu_ns() - start - done.device.simulation_cpu_ns : 0;
    report.add_call(context, call.layer, done, {}, spent);
    return {};
  }
  done = CallReport();
  Status second = dense(call, &done);
  if (second.ok()) report.add_call(context, call.layer, done, "failed: " + first.message());
  return second;
}

}  // namespace

void ablate(const Ablation& ablation, int layer, const OutputView& output) {
  if (ablation.layer < 0 || ablation.layer != layer) return;
  for (int64_t head = 0; head < output.heads; ++head) {
    if (ablation.head >= 0 && ablation.head != head) continue;
    for (int64_t row = 0; row < output.rows; ++row) {
      std::fill_n(output.row(head, row), output.dim, 0.0F);
    }
  }
}

Status attend_node(const ggml_tensor* node, AttendContext& context, const AttendFn& preferred,
                   const AttendFn& dense, Report& report) {
  const FlashAttnNode attention(node);
  const int layer = layer_of(node);
  const uint64_t mask_id = context.walk.mask_id(node, layer);
  for (int64_t stream = 0; stream < attention.streams(); ++stream) {
    AttentionCall call = attention.call(stream);
    // Streams are other sequences: what one teaches of a layer holds for all.
    call.layer = layer;
    call.mask.id = mask_id;
    Status status = attend_stream(call, context.number, preferred, dense, report);
    if (!status.ok()) return status;
  }
  return {};
}

}  // namespace shadowattn::plugin
