// edit_model in.gguf out.gguf key=value...: copies a model with changed metadata, for tests that
// need a model nobody publishes. A value of digits only is a u32, any other a string.

#include <ggml.h>
#include <gguf.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

namespace {

struct GgufDeleter {
  void operator()(gguf_context* context) const { gguf_free(context); }
};
struct GgmlDeleter {
  void operator()(ggml_context* context) const { ggml_free(context); }
};

void set_value(gguf_context* model, const std::string& key, const std::string& value) {
  if (value.find_first_not_of("0123456789") == std::string::npos) {
    gguf_set_val_u32(model, key.c_str(), static_cast<uint32_t>(std::stoul(value)));
  } else {
    gguf_set_val_str(model, key.c_str(), value.c_str());
  }
}

int edit(int argc, char** argv) {
  ggml_context* tensors = nullptr;
  const gguf_init_params params = {/*.no_alloc =*/false, /*.ctx =*/&tensors};
  const std::unique_ptr<gguf_context, GgufDeleter> source(gguf_init_from_file(argv[1], params));
  const std::unique_ptr<ggml_context, GgmlDeleter> owner(tensors);
  if (!source) return 1;
  const std::unique_ptr<gguf_context, GgufDeleter> copy(gguf_init_empty());
  gguf_set_kv(copy.get(), source.get());
  for (int i = 3; i < argc; ++i) {
    const std::string item = argv[i];
    const size_t equals = item.find('=');
    if (equals == std::string::npos || equals + 1 == item.size()) return 2;
    set_value(copy.get(), item.substr(0, equals), item.substr(equals + 1));
  }
  for (ggml_tensor* tensor = ggml_get_first_tensor(tensors); tensor != nullptr;
       tensor = ggml_get_next_tensor(tensors, tensor)) {
    // gguf.h also lists the raw data as a tensor of its own.
    if (gguf_find_tensor(source.get(), tensor->name) >= 0) gguf_add_tensor(copy.get(), tensor);
  }
  return gguf_write_to_file(copy.get(), argv[2], false) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: edit_model in.gguf out.gguf key=value...\n");
    return 2;
  }
  const int status = edit(argc, argv);
  if (status != 0) std::fprintf(stderr, "edit_model: cannot edit %s\n", argv[1]);
  return status;
}
