// What a FLASH_ATTN_EXT node says of itself: layer and parameters. Needs ggml's headers only.
#pragma once

#include "ggml.h"

namespace shadowattn::plugin {

/// The tensor of the KV cache that `node`'s keys are a view of (cache_k_l<N>); null when they are
/// none. A context has its own as long as it lives.
const ggml_tensor* cache_of(const ggml_tensor* node);

/// Number of the layer whose attention `node` is: from the name of its queries (Qcur-<N>), for
/// layers may share a cache, else that of the cache; -1 when its keys are from no cache.
int layer_of(const ggml_tensor* node);

struct FlashAttnParams {
  float scale = 1.0F;
  float max_bias = 0.0F;  ///< ALiBi; 0: none
  float logit_softcap = 0.0F;
};
FlashAttnParams flash_attn_params(const ggml_tensor* node);

}  // namespace shadowattn::plugin
