#include "common/gguf_writer.h"

#include <new>
#include <stdexcept>

namespace shadowattn::tool {
namespace {

struct GgmlDeleter {
  void operator()(ggml_context* context) const { ggml_free(context); }
};

void pad(AtomicFile& file, size_t alignment) {
  const size_t surplus = static_cast<size_t>(file.size()) % alignment;
  if (surplus == 0) return;
  const std::vector<char> zeros(alignment - surplus, 0);
  file.write(zeros.data(), zeros.size());
}

}  // namespace

GgufWriter::GgufWriter() : gguf_(gguf_init_empty()) {
  if (!gguf_) throw std::bad_alloc();
}

void GgufWriter::add_tensor(const std::string& name, ggml_type type,
                            const std::vector<int64_t>& shape) {
  const ggml_init_params params = {ggml_tensor_overhead(), nullptr, /*no_alloc=*/true};
  const std::unique_ptr<ggml_context, GgmlDeleter> context(ggml_init(params));
  if (!context) throw std::bad_alloc();
  ggml_tensor* tensor =
      ggml_new_tensor(context.get(), type, static_cast<int>(shape.size()), shape.data());
  ggml_set_name(tensor, name.c_str());
  gguf_add_tensor(gguf_.get(), tensor);  // copies the description
}

void GgufWriter::write(const std::string& path,
                       const std::function<void(int64_t index, AtomicFile& file)>& fill) const {
  AtomicFile file(path);
  std::vector<char> header(gguf_get_meta_size(gguf_.get()));
  gguf_get_meta_data(gguf_.get(), header.data());
  file.write(header.data(), header.size());
  for (int64_t i = 0; i < gguf_get_n_tensors(gguf_.get()); ++i) {
    const int64_t start = file.size();
    fill(i, file);
    if (file.size() - start != static_cast<int64_t>(gguf_get_tensor_size(gguf_.get(), i))) {
      throw std::logic_error(std::string("wrong size of tensor ") +
                             gguf_get_tensor_name(gguf_.get(), i));
    }
    pad(file, gguf_get_alignment(gguf_.get()));
  }
  file.commit();
}

}  // namespace shadowattn::tool
