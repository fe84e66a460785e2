#include "plan/call_context.h"

#include <algorithm>

namespace shadowattn {

bool keeps_everything(const CallContext& context, const QueryTile& tile, int64_t kv_head) {
  const int64_t group_heads = context.call.query.heads / context.call.key.heads;
  int64_t visible = 0;
  for (int64_t h = kv_head * group_heads; h < (kv_head + 1) * group_heads; ++h) {
    for (int64_t i = 0; i < tile.rows.count; ++i) {
      visible = std::max<int64_t>(visible, context.visibility.row(h, tile.rows.first + i).visible);
    }
  }
  return context.budget(kv_head).keeps_all(visible);
}

}  // namespace shadowattn
