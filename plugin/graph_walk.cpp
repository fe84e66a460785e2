#include "graph_walk.h"

namespace shadowattn::plugin {

uint64_t GraphWalk::mask_id(const ggml_tensor* node, int layer) {
  const ggml_tensor* mask = node->src[3];
  if (layer < 0 || mask == nullptr || mask->data == nullptr || node->src[0]->ne[3] != 1) return 0;
  if (layer <= last_layer_) masks_.clear();  // another graph
  last_layer_ = layer;
  for (const KnownMask& known : masks_) {
    if (known.data == mask->data && known.keys == mask->ne[0] && known.rows == mask->ne[1]) {
      return known.id;
    }
  }
  masks_.push_back({mask->data, mask->ne[0], mask->ne[1], ++last_id_});
  return last_id_;
}

}  // namespace shadowattn::plugin
