#include "attend/value_pages.h"

#include <algorithm>

namespace shadowattn {

void ValuePages::build(const AttentionCall& call, KeyRange keys, const KeepKernel& kernel,
                       Executor& executor) {
  constexpr int64_t kPagesPerTask = 32;
  pages_ = (keys.end - keys.begin + kKeepPage - 1) / kKeepPage;
  value_dim_ = call.value.dim;
  mean_.reserve(call.value.heads * pages_ * value_dim_);
  weight_.reserve(call.value.heads * pages_ * kKeepPage);
  const int64_t chunks = (pages_ + kPagesPerTask - 1) / kPagesPerTask;
  executor.run(chunks * call.value.heads, [&](int64_t task, int) {
    const int64_t kv_head = task / chunks;
    const int64_t page = task % chunks * kPagesPerTask;
    const RowSource source{call.value.row(kv_head, 0), call.value.type, call.value.row_stride};
    const int64_t at = kv_head * pages_ + page;
    kernel.values(source, keys.begin + page * kKeepPage, std::min(kPagesPerTask, pages_ - page),
                  keys.end, value_dim_, mean_.data() + at * value_dim_,
                  weight_.data() + at * kKeepPage);
  });
}

}  // namespace shadowattn
