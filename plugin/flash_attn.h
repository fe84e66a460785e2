// FLASH_ATTN_EXT nodes of ggml as calls of the engine.
//
// ggml's shapes, innermost dimension first: q [D, n_q, H, streams] f32, k [D, n_kv, H_kv, streams],
// v [D_v, n_kv, H_kv, streams], mask [n_kv, >= n_q, heads, streams] f16, sinks [H] f32,
// output [D_v, H, n_q, streams] f32. A stream is a sequence with its own part of the KV cache.
#pragma once

#include <string>
#include <vector>

#include "ggml.h"
#include "host_ggml.h"
#include "node_facts.h"
#include "shadowattn/attention.h"

namespace shadowattn::plugin {

/// Calls of fewer query rows than this are few: decoding, or llama.cpp's trial graph
/// (docs/plugin.md).
inline constexpr int64_t kFewRows = 32;

/// Which calls are worth taking.
struct ClaimRule {
  int64_t min_rows = 1;         ///< calls with fewer query rows are left to the host
  int64_t min_keys_of_few = 0;  ///< calls of few rows with fewer keys, too
};

/// Why the plug-in leaves `node` to the host, in words for the report; empty when it takes it.
/// Reads shapes and types only.
std::string decline_reason(const HostGgml& host, const ggml_tensor* node, const ClaimRule& rule);

/// One FLASH_ATTN_EXT node that was not declined. Views the node's memory; must not outlive it.
class FlashAttnNode {
 public:
  explicit FlashAttnNode(const ggml_tensor* node);

  int64_t streams() const;
  /// The attention of one stream. Valid as long as this object.
  AttentionCall call(int64_t stream) const;

 private:
  const ggml_tensor* node_;
  std::vector<float> slopes_;  ///< ALiBi, one per head; empty without
};

}  // namespace shadowattn::plugin
