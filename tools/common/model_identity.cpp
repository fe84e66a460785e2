#include "common/model_identity.h"

#include <ggml.h>
#include <gguf.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <memory>
#include <string_view>

#include "common/checksum.h"
#include "common/failure.h"

namespace shadowattn::tool {
namespace {

constexpr int64_t kPartBytes = 4096;

struct GgufDeleter {
  void operator()(gguf_context* context) const { gguf_free(context); }
};
struct GgmlDeleter {
  void operator()(ggml_context* context) const { ggml_free(context); }
};

/// The first, the middle and the last part of `size` bytes at `begin`; all of a small tensor.
void add_bytes(std::ifstream& file, int64_t begin, int64_t size, Checksum& checksum) {
  std::array<char, kPartBytes> buffer{};
  int64_t done = 0;
  for (const int64_t wanted : {int64_t{0}, (size - kPartBytes) / 2, size - kPartBytes}) {
    const int64_t from = std::max(wanted, done);  // what two parts share is added once
    const int64_t count = std::clamp(size - from, int64_t{0}, kPartBytes);
    file.seekg(begin + from);
    file.read(buffer.data(), count);
    checksum.add({buffer.data(), static_cast<size_t>(file.gcount())});
    done = from + count;
  }
}

std::string architecture_of(const gguf_context* file) {
  const int64_t key = gguf_find_key(file, "general.architecture");
  if (key < 0 || gguf_get_kv_type(file, key) != GGUF_TYPE_STRING) return "";
  return gguf_get_val_str(file, key);
}

}  // namespace

ProfiledModel identify_model(const std::string& path) {
  ggml_context* tensors = nullptr;
  const std::unique_ptr<gguf_context, GgufDeleter> gguf(
      gguf_init_from_file(path.c_str(), {/*.no_alloc =*/true, /*.ctx =*/&tensors}));
  const std::unique_ptr<ggml_context, GgmlDeleter> owner(tensors);
  std::ifstream file(path, std::ios::binary);
  if (!gguf || !file) throw Failure("cannot read the tensors of " + path);
  ProfiledModel model;
  Checksum checksum;
  for (int64_t i = 0; i < gguf_get_n_tensors(gguf.get()); ++i) {
    const ggml_tensor* tensor = ggml_get_tensor(tensors, gguf_get_tensor_name(gguf.get(), i));
    if (tensor == nullptr) throw Failure("cannot read the tensors of " + path);
    checksum.add(tensor->name);
    checksum.add(static_cast<int64_t>(tensor->type));
    for (const int64_t extent : tensor->ne) checksum.add(extent);
    const size_t begin = gguf_get_data_offset(gguf.get()) + gguf_get_tensor_offset(gguf.get(), i);
    add_bytes(file, static_cast<int64_t>(begin), static_cast<int64_t>(ggml_nbytes(tensor)),
              checksum);
    if (!file) throw Failure("the model " + path + " is cut short; download it again");
    model.parameters += ggml_nelements(tensor);
  }
  model.architecture = architecture_of(gguf.get());
  model.checksum = checksum.text();
  return model;
}

}  // namespace shadowattn::tool
