// What a FLASH_ATTN_EXT node says of itself: layer and parameters. Needs ggml's headers only.
#pragma once

#include "ggml.h"

namespace shadowattn::plugin {

/// Layer number from the name of the KV cache tensor that `node`'s keys are a view of
/// (cache_k_l<N>); -1 when they are not.
int layer_of(const ggml_tensor* node);

struct FlashAttnParams {
  float scale = 1.0F;
  float max_bias = 0.0F;  ///< ALiBi; 0: none
  float logit_softcap = 0.0F;
};
FlashAttnParams flash_attn_params(const ggml_tensor* node);

}  // namespace shadowattn::plugin
