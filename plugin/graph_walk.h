// Which masks the attention nodes of a graph have in common: the scheduler hands us one node at a
// time, and a mask is as large as all scores of a head.
#pragma once

#include <cstdint>
#include <vector>

#include "ggml.h"

namespace shadowattn::plugin {

/// Of one context, whose graphs are computed one after the other.
class GraphWalk {
 public:
  /// Mask::id for the next node: the same for nodes that follow each other through rising layers,
  /// as those of one graph do, and have the same mask tensor's memory. 0 for nodes of unknown
  /// layers and of several streams. (The engine looks at the mask before it believes this.)
  uint64_t mask_id(const ggml_tensor* node, int layer);

 private:
  struct KnownMask {
    const void* data = nullptr;
    int64_t keys = 0;
    int64_t rows = 0;
    uint64_t id = 0;
  };

  int last_layer_ = -1;
  uint64_t last_id_ = 0;
  std::vector<KnownMask> masks_;  ///< of this graph
};

}  // namespace shadowattn::plugin
