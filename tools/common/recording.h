// Recorded attention calls, and the GGUF file that holds them.
//
// Tensors, one set per layer N: layer.N.q, .k, .v, .mask, and .sinks where the model has them.
// Metadata: recording.version, .model, .layers, .tokens (the token ids read), and per layer
// layer.N.scale, .logit_softcap, .max_bias.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <string>
#include <vector>

#include "plugin/node_facts.h"

namespace shadowattn::tool {

/// A contiguous tensor that holds its own elements.
struct OwnedTensor {
  ggml_type type = GGML_TYPE_F32;
  std::vector<int64_t> shape;  ///< innermost first; empty: no tensor
  std::vector<char> bytes;

  bool empty() const { return shape.empty(); }
};

/// Operands of one FLASH_ATTN_EXT node as llama.cpp computed it, padding of the KV cache included.
struct RecordedCall {
  int layer = 0;
  plugin::FlashAttnParams params;
  OwnedTensor q;      ///< f32 [D, n_q, H]
  OwnedTensor k;      ///< type of the cache, [D, n_kv, H_kv]
  OwnedTensor v;      ///< [D_v, n_kv, H_kv]
  OwnedTensor mask;   ///< f16 [n_kv, n_q] or [n_kv, n_q, heads]; may be empty
  OwnedTensor sinks;  ///< f32 [H]; mostly empty
};

struct Recording {
  std::string model;            ///< description, for people
  std::vector<int32_t> tokens;  ///< that were read
  std::vector<RecordedCall> calls;
};

/// Writes the file, whole or not at all. Throws Failure.
void save_recording(const Recording& recording, const std::string& path);

/// Throws Failure when the file cannot be read, is no recording or has operands that do not fit.
Recording load_recording(const std::string& path);

}  // namespace shadowattn::tool
