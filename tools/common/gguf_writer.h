// Writes a GGUF file tensor by tensor, so that no more than one has to be in memory.
#pragma once

#include <ggml.h>
#include <gguf.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/files.h"

namespace shadowattn::tool {

class GgufWriter {
 public:
  GgufWriter();

  /// For gguf_set_val_…; what is set after write() is lost.
  gguf_context* metadata() const { return gguf_.get(); }

  /// Declares a tensor; `shape` innermost dimension first, whole blocks of `type` in a row.
  void add_tensor(const std::string& name, ggml_type type, const std::vector<int64_t>& shape);

  /// Writes the file, whole or not at all. `fill` is called once per tensor, in the order of
  /// declaration, and writes exactly the tensor's bytes. Throws Failure, and what `fill` throws.
  void write(const std::string& path,
             const std::function<void(int64_t index, AtomicFile& file)>& fill) const;

 private:
  struct Deleter {
    void operator()(gguf_context* context) const { gguf_free(context); }
  };
  std::unique_ptr<gguf_context, Deleter> gguf_;
};

}  // namespace shadowattn::tool
