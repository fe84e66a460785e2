// One FLASH_ATTN_EXT node from operands to output, whatever fails on the way.
#pragma once

#include <functional>

#include "ggml.h"
#include "graph_walk.h"
#include "report.h"
#include "shadowattn/attention.h"
#include "shadowattn/config.h"
#include "shadowattn/engine.h"
#include "shadowattn/status.h"

namespace shadowattn::plugin {

using AttendFn = std::function<Status(const AttentionCall& call, CallReport* report)>;

/// Zeroes the output of the heads that `ablation` names, if `layer` is theirs.
void ablate(const Ablation& ablation, int layer, const OutputView& output);

/// Who asks for attention: its number in the report, and where it is in its graphs.
struct AttendContext {
  int32_t number = 1;
  GraphWalk walk;
};

/// Computes every stream of `node` by `preferred`; a call that fails there is computed again by
/// `dense`, and the report says why. Error when that fails too.
Status attend_node(const ggml_tensor* node, AttendContext& context, const AttendFn& preferred,
                   const AttendFn& dense, Report& report);

}  // namespace shadowattn::plugin
