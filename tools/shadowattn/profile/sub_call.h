// Parts of an attention call: one KV head, or the last rows, as a call of its own.
#pragma once

#include "shadowattn/attention.h"
#include "shadowattn/status.h"

namespace shadowattn::tool {

/// KV head `kv_head` of `call` with the query heads that read it. The layer becomes -1: the part
/// is taken by itself. kUnsupported when the mask's heads cannot be cut that way.
Result<AttentionCall> kv_head_call(const AttentionCall& call, int64_t kv_head);

/// The last `rows` query rows, or all where there are fewer.
AttentionCall last_rows(const AttentionCall& call, int64_t rows);

}  // namespace shadowattn::tool
