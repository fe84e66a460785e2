#include "common/recording.h"

#include <gguf.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "common/failure.h"
#include "common/files.h"
#include "common/gguf_writer.h"
#include "common/interrupt.h"

namespace shadowattn::tool {
namespace {

constexpr uint32_t kVersion = 1;
constexpr char kVersionKey[] = "recording.version";
constexpr char kModelKey[] = "recording.model";
constexpr char kTokensKey[] = "recording.tokens";
constexpr char kLayersKey[] = "recording.layers";

struct GgufDeleter {
  void operator()(gguf_context* context) const { gguf_free(context); }
};

std::string layer_key(int layer, const char* name) {
  return "layer." + std::to_string(layer) + "." + name;
}

template <typename Call, typename Visit>
void for_each_operand(Call& call, const Visit& visit) {
  visit("q", call.q);
  visit("k", call.k);
  visit("v", call.v);
  visit("mask", call.mask);
  visit("sinks", call.sinks);
}

void set_metadata(gguf_context* gguf, const Recording& recording) {
  gguf_set_val_str(gguf, "general.architecture", "shadowattn-recording");
  gguf_set_val_str(gguf, "general.name", ("attention of " + recording.model).c_str());
  gguf_set_val_u32(gguf, kVersionKey, kVersion);
  gguf_set_val_str(gguf, kModelKey, recording.model.c_str());
  gguf_set_arr_data(gguf, kTokensKey, GGUF_TYPE_INT32, recording.tokens.data(),
                    recording.tokens.size());
  std::vector<int32_t> layers;
  for (const RecordedCall& call : recording.calls) {
    layers.push_back(call.layer);
    const auto set = [&](const char* name, float value) {
      gguf_set_val_f32(gguf, layer_key(call.layer, name).c_str(), value);
    };
    set("scale", call.params.scale);
    set("max_bias", call.params.max_bias);
    set("logit_softcap", call.params.logit_softcap);
  }
  gguf_set_arr_data(gguf, kLayersKey, GGUF_TYPE_INT32, layers.data(), layers.size());
}

/// A recording's file, opened; every access is checked, before memory is had for it.
class RecordingFile {
 public:
  explicit RecordingFile(const std::string& path) : path_(path) {
    check_model_file(path);
    const gguf_init_params params = {/*.no_alloc =*/true, /*.ctx =*/nullptr};
    gguf_.reset(gguf_init_from_file(path.c_str(), params));
    if (!gguf_) fail("it is damaged or cut short");
    if (id(kVersionKey, GGUF_TYPE_UINT32) < 0) fail("it is no recording");
    const uint32_t version = gguf_get_val_u32(gguf_.get(), id(kVersionKey, GGUF_TYPE_UINT32));
    if (version != kVersion) fail("it has version " + std::to_string(version) + ", not 1");
  }

  [[noreturn]] void fail(const std::string& reason) const {
    throw Failure("cannot use the recording " + path_ + ": " + reason +
                  "; make one with `shadowattn-lab record`");
  }

  std::string text(const char* key) const {
    return gguf_get_val_str(gguf_.get(), required(key, GGUF_TYPE_STRING));
  }
  float number(const std::string& key) const {
    return gguf_get_val_f32(gguf_.get(), required(key.c_str(), GGUF_TYPE_FLOAT32));
  }
  std::vector<int32_t> numbers(const char* key) const {
    const int64_t index = required(key, GGUF_TYPE_ARRAY);
    if (gguf_get_arr_type(gguf_.get(), index) != GGUF_TYPE_INT32) fail(std::string("no ") + key);
    const auto* data = static_cast<const int32_t*>(gguf_get_arr_data(gguf_.get(), index));
    return {data, data + gguf_get_arr_n(gguf_.get(), index)};
  }

  OwnedTensor tensor(const std::string& name) const {
    const int64_t index = gguf_find_tensor(gguf_.get(), name.c_str());
    if (index < 0) return {};
    const int64_t* extents = gguf_get_tensor_ne(gguf_.get(), index);
    OwnedTensor tensor;
    tensor.type = gguf_get_tensor_type(gguf_.get(), index);
    tensor.shape.assign(extents, extents + GGML_MAX_DIMS);
    while (tensor.shape.size() > 1 && tensor.shape.back() == 1) tensor.shape.pop_back();
    const size_t bytes = gguf_get_tensor_size(gguf_.get(), index);
    const size_t offset =
        gguf_get_data_offset(gguf_.get()) + gguf_get_tensor_offset(gguf_.get(), index);
    const size_t available = std::filesystem::file_size(path_);
    if (offset > available || bytes > available - offset) fail("it is damaged or cut short");
    tensor.bytes.resize(bytes);
    std::ifstream file(path_, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    file.read(tensor.bytes.data(), static_cast<std::streamsize>(bytes));
    if (!file) fail("it cannot be read");
    return tensor;
  }

 private:
  int64_t id(const char* key, gguf_type type) const {
    const int64_t index = gguf_find_key(gguf_.get(), key);
    return index >= 0 && gguf_get_kv_type(gguf_.get(), index) == type ? index : -1;
  }
  int64_t required(const char* key, gguf_type type) const {
    const int64_t index = id(key, type);
    if (index < 0) fail(std::string("it has no ") + key);
    return index;
  }

  std::string path_;
  std::unique_ptr<gguf_context, GgufDeleter> gguf_;
};

int64_t extent(const OwnedTensor& tensor, size_t dimension) {
  return dimension < tensor.shape.size() ? tensor.shape[dimension] : 1;
}

// What the operators that compute it would only assert. Empty when the operands fit.
std::string misfit(const RecordedCall& call) {
  if (call.q.empty() || call.k.empty() || call.v.empty()) return "has no q, k or v";
  if (call.q.type != GGML_TYPE_F32) return "has a q that is not f32";
  for (const OwnedTensor* tensor : {&call.q, &call.k, &call.v}) {
    if (extent(*tensor, 3) != 1) return "has more than one stream";
    if (tensor->bytes.empty()) return "has an operand without elements";
  }
  if (extent(call.q, 0) != extent(call.k, 0)) return "has q and k of different head dims";
  if (extent(call.k, 1) != extent(call.v, 1)) return "has k and v of different lengths";
  if (extent(call.k, 2) != extent(call.v, 2)) return "has k and v of different head counts";
  if (extent(call.q, 2) % extent(call.k, 2) != 0)
    return "has KV heads that do not divide its heads";
  if (call.mask.empty() && call.params.max_bias > 0) return "has ALiBi but no mask";
  if (!call.mask.empty() &&
      (call.mask.bytes.empty() || call.mask.type != GGML_TYPE_F16 ||
       extent(call.mask, 0) != extent(call.k, 1) || extent(call.mask, 1) != extent(call.q, 1) ||
       extent(call.q, 2) % extent(call.mask, 2) != 0 || extent(call.mask, 3) != 1)) {
    return "has a mask that does not fit";
  }
  if (!call.sinks.empty() &&
      (call.sinks.type != GGML_TYPE_F32 || extent(call.sinks, 0) != extent(call.q, 2))) {
    return "has sinks that do not fit";
  }
  return {};
}

RecordedCall load_call(const RecordingFile& file, int layer) {
  RecordedCall call;
  call.layer = layer;
  call.params.scale = file.number(layer_key(layer, "scale"));
  call.params.max_bias = file.number(layer_key(layer, "max_bias"));
  call.params.logit_softcap = file.number(layer_key(layer, "logit_softcap"));
  for_each_operand(call, [&](const char* name, OwnedTensor& tensor) {
    tensor = file.tensor(layer_key(layer, name));
  });
  if (const std::string reason = misfit(call); !reason.empty()) {
    file.fail("layer " + std::to_string(layer) + " " + reason);
  }
  return call;
}

}  // namespace

void save_recording(const Recording& recording, const std::string& path) {
  GgufWriter writer;
  set_metadata(writer.metadata(), recording);
  std::vector<const OwnedTensor*> tensors;
  for (const RecordedCall& call : recording.calls) {
    for_each_operand(call, [&](const char* name, const OwnedTensor& tensor) {
      if (tensor.empty()) return;
      writer.add_tensor(layer_key(call.layer, name), tensor.type, tensor.shape);
      tensors.push_back(&tensor);
    });
  }
  writer.write(path, [&](int64_t index, AtomicFile& file) {
    if (interrupted()) throw Failure("interrupted", interrupted_status());
    const std::vector<char>& bytes = tensors[static_cast<size_t>(index)]->bytes;
    file.write(bytes.data(), bytes.size());
  });
}

Recording load_recording(const std::string& path) {
  const RecordingFile file(path);
  Recording recording;
  recording.model = file.text(kModelKey);
  recording.tokens = file.numbers(kTokensKey);
  for (const int32_t layer : file.numbers(kLayersKey)) {
    recording.calls.push_back(load_call(file, layer));
  }
  if (recording.calls.empty()) file.fail("it holds no layer");
  return recording;
}

}  // namespace shadowattn::tool
