// Query rows of an attention call with their exact logits, as a reference for estimates of them.
#pragma once

#include <cstdint>
#include <vector>

#include "measure/recall_score.h"
#include "plan/visibility.h"
#include "shadowattn/attention.h"
#include "shadowattn/executor.h"

namespace shadowattn::tool::measure {

/// One query row of one head.
struct SampledRow {
  int64_t group_head = 0;  ///< query head, counted from the first of its KV head
  int64_t row = 0;
  RowVisibility seen;
  RowReference reference;  ///< logits of keys seen.begin … seen.end - 1, in double precision
};

/// Of the query rows of KV head `kv_head` every `every`-th, counted from the last, which sees most;
/// rows of one token side by side. Rows with a mask that is not plain, or that see nothing, are
/// left out. Throws std::bad_alloc.
std::vector<SampledRow> sample_rows(const AttentionCall& call, const Visibility& visibility,
                                    int64_t kv_head, int every, Executor& executor);

}  // namespace shadowattn::tool::measure
