#include "simulate/gguf_shape.h"

#include <ggml.h>
#include <gguf.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "common/failure.h"
#include "common/files.h"

namespace shadowattn::tool::simulate {
namespace {

struct GgufDeleter {
  void operator()(gguf_context* context) const { gguf_free(context); }
};
struct GgmlDeleter {
  void operator()(ggml_context* context) const { ggml_free(context); }
};

/// The whole numbers of a file's metadata, by llama.cpp's keys.
class Metadata {
 public:
  explicit Metadata(std::string path) : path_(std::move(path)) {
    // What ggml says of a broken file; ours is the one line that is wanted.
    ggml_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    ggml_context* tensors = nullptr;
    file_.reset(gguf_init_from_file(path_.c_str(), {/*.no_alloc =*/true, /*.ctx =*/&tensors}));
    tensors_.reset(tensors);
    if (!file_) {
      throw Failure("cannot read the metadata of " + path_ +
                    "; it is cut short or broken, download it again");
    }
    const int64_t key = gguf_find_key(file_.get(), "general.architecture");
    if (key < 0 || gguf_get_kv_type(file_.get(), key) != GGUF_TYPE_STRING) {
      throw Failure(path_ + " does not say which architecture it is; it is no language model");
    }
    architecture_ = gguf_get_val_str(file_.get(), key);
  }

  /// Nullopt when it is not there.
  std::optional<int64_t> find(const std::string& name) const {
    const std::string key = architecture_ + "." + name;
    const int64_t id = gguf_find_key(file_.get(), key.c_str());
    if (id < 0) return std::nullopt;
    if (gguf_get_kv_type(file_.get(), id) != GGUF_TYPE_UINT32) {
      throw Failure(path_ + ": " + key +
                    " is no single number: its layers are unlike each other, which cannot be "
                    "predicted; give the shape by hand");
    }
    return gguf_get_val_u32(file_.get(), id);
  }

  int64_t get(const std::string& name) const {
    const std::optional<int64_t> value = find(name);
    if (!value) throw Failure(path_ + " has no " + architecture_ + "." + name);
    return *value;
  }

  /// Tokens of the vocabulary, by the token embedding; 0 when there is none.
  int64_t vocab() const {
    const ggml_tensor* embedding = ggml_get_tensor(tensors_.get(), "token_embd.weight");
    return embedding == nullptr ? 0 : embedding->ne[1];
  }

 private:
  std::string path_;
  std::string architecture_;
  std::unique_ptr<gguf_context, GgufDeleter> file_;
  std::unique_ptr<ggml_context, GgmlDeleter> tensors_;
};

}  // namespace

ModelShape read_gguf_shape(const std::string& path) {
  check_model_file(path);
  const Metadata metadata(path);
  if (metadata.find("expert_count").value_or(0) > 0) {
    throw Failure(path + " is a mixture of experts, which cannot be predicted");
  }
  ModelShape shape;
  shape.name = std::filesystem::path(path).filename().string();
  shape.layers = metadata.get("block_count");
  shape.hidden = metadata.get("embedding_length");
  shape.heads = metadata.get("attention.head_count");
  shape.kv_heads = metadata.find("attention.head_count_kv").value_or(shape.heads);
  if (shape.heads < 1 || shape.kv_heads < 1) throw Failure(path + " has no attention heads");
  shape.head_dim = metadata.find("attention.key_length").value_or(shape.hidden / shape.heads);
  shape.ffn = metadata.get("feed_forward_length");
  shape.vocab = metadata.vocab();
  check_shape(shape, path);
  return shape;
}

}  // namespace shadowattn::tool::simulate
