#include "plan/profile_lookup.h"

namespace shadowattn {

const LayerProfile* find_layer(const Profile& profile, const AttentionCall& call) {
  if (call.layer < 0 || static_cast<size_t>(call.layer) >= profile.layers.size()) return nullptr;
  const LayerProfile& layer = profile.layers[static_cast<size_t>(call.layer)];
  const bool fits = !layer.heads.empty() &&
                    call.query.heads == static_cast<int64_t>(layer.heads.size()) &&
                    call.key.heads == static_cast<int64_t>(layer.kv_heads.size()) &&
                    call.query.dim == layer.head_dim;
  return fits ? &layer : nullptr;
}

}  // namespace shadowattn
