// One attention call, ready for ggml and for the engine: operands in memory as llama.cpp has them.
#pragma once

#include <ggml-backend.h>
#include <ggml.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "common/recording.h"
#include "flash_attn.h"
#include "shadowattn/attention.h"

namespace shadowattn::tool::measure {

/// ggml's CPU backend, which must have been loaded (LlamaRuntime). Throws Failure.
class GgmlCpu {
 public:
  explicit GgmlCpu(int threads);

  ggml_backend_t get() const { return backend_.get(); }
  std::string processor() const;  ///< its name

 private:
  struct Deleter {
    void operator()(ggml_backend* backend) const { ggml_backend_free(backend); }
  };
  std::unique_ptr<ggml_backend, Deleter> backend_;
};

/// Seeded random operands of a causal call: `rows` query rows at the end of `keys` keys.
struct RandomShape {
  int64_t heads = 14;
  int64_t kv_heads = 2;
  int64_t dim = 64;
  int64_t keys = 8192;
  int64_t rows = 512;
};
RecordedCall random_call(const RandomShape& shape);

/// A FLASH_ATTN_EXT node with its operands. As in llama.cpp, the rows of all heads of one token lie
/// side by side. `backend` must outlive it. Throws Failure when the engine cannot take it.
class AttentionProblem {
 public:
  AttentionProblem(const RecordedCall& recorded, const GgmlCpu& backend);

  /// Views this object's memory, output included.
  /// As of a layer that an engine meets again and again.
  AttentionCall call() const {
    AttentionCall call = flash_attn_->call(0);
    call.layer = 0;
    return call;
  }
  /// Computes the output with ggml's own kernel.
  void run_ggml() const;
  /// [n_q][H][D_v], of the last computation.
  std::span<const float> output() const;

 private:
  struct ContextDeleter {
    void operator()(ggml_context* context) const { ggml_free(context); }
  };
  struct BufferDeleter {
    void operator()(ggml_backend_buffer* buffer) const { ggml_backend_buffer_free(buffer); }
  };

  ggml_backend_t backend_;
  std::unique_ptr<ggml_context, ContextDeleter> context_;
  std::unique_ptr<ggml_backend_buffer, BufferDeleter> buffer_;
  ggml_tensor* node_ = nullptr;   // owned by context_
  ggml_cgraph* graph_ = nullptr;  // owned by context_
  std::optional<plugin::FlashAttnNode> flash_attn_;
};

}  // namespace shadowattn::tool::measure
