#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include "shadowattn/config.h"
#include "shadowattn/engine.h"
#include "shadowattn/profile.h"
#include "shadowattn/shadowattn.h"

using shadowattn::AttentionCall;
using shadowattn::CallReport;
using shadowattn::Config;
using shadowattn::ElementType;
using shadowattn::Engine;
using shadowattn::Mask;
using shadowattn::MaskKind;
using shadowattn::OutputView;
using shadowattn::Profile;
using shadowattn::Result;
using shadowattn::Status;
using shadowattn::StatusCode;
using shadowattn::TensorView;

struct shadowattn_engine {
  explicit shadowattn_engine(Engine made) : engine(std::move(made)) {}

  Engine engine;
  std::string message;
};

namespace {

shadowattn_status status_of(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return SHADOWATTN_OK;
    case StatusCode::kInvalidArgument:
      return SHADOWATTN_INVALID_ARGUMENT;
    case StatusCode::kUnsupported:
      return SHADOWATTN_UNSUPPORTED;
    case StatusCode::kOutOfMemory:
      return SHADOWATTN_OUT_OF_MEMORY;
    case StatusCode::kInternal:
    case StatusCode::kTimedOut:  // of devices: the engine gives these up by itself
    case StatusCode::kDeviceFailed:
      break;
  }
  return SHADOWATTN_INTERNAL;
}

bool known(int32_t type) {
  return type == SHADOWATTN_F32 || type == SHADOWATTN_F16 || type == SHADOWATTN_Q8_0;
}

TensorView view(const shadowattn_tensor& tensor) {
  TensorView view;
  view.data = tensor.data;
  view.type = tensor.type == SHADOWATTN_F32   ? ElementType::kF32
              : tensor.type == SHADOWATTN_F16 ? ElementType::kF16
                                              : ElementType::kQ8_0;
  view.heads = tensor.heads;
  view.rows = tensor.rows;
  view.dim = tensor.dim;
  view.head_stride = tensor.head_stride;
  view.row_stride = tensor.row_stride;
  return view;
}

OutputView view(const shadowattn_output& output) {
  return {output.data, output.heads,       output.rows,
          output.dim,  output.head_stride, output.row_stride};
}

Result<Mask> mask_of(const shadowattn_mask& given) {
  Mask mask;
  switch (given.kind) {
    case SHADOWATTN_MASK_NONE:
      return mask;
    case SHADOWATTN_MASK_CAUSAL:
      mask.kind = MaskKind::kCausal;
      mask.causal_offset = given.causal_offset;
      return mask;
    case SHADOWATTN_MASK_ADDITIVE:
      mask.kind = MaskKind::kAdditive;
      mask.additive = view(given.additive);
      mask.slopes = given.slopes;
      return mask;
  }
  return Status::invalid_argument("mask.kind is none of shadowattn_mask_kind");
}

Result<AttentionCall> call_of(const shadowattn_call& given) {
  if (!known(given.query.type) || !known(given.key.type) || !known(given.value.type) ||
      !known(given.mask.additive.type)) {
    return Status::invalid_argument("a tensor's type is none of shadowattn_type");
  }
  if (given.layer_number < 0) return Status::invalid_argument("layer_number is negative");
  Result<Mask> mask = mask_of(given.mask);
  if (!mask.ok()) return mask.status();
  AttentionCall call;
  call.query = view(given.query);
  call.key = view(given.key);
  call.value = view(given.value);
  call.output = view(given.output);
  call.mask = mask.value();
  call.scale = given.scale;
  call.logit_softcap = given.logit_softcap;
  call.sink_logits = given.sink_logits;
  call.layer = given.layer_number - 1;
  return call;
}

shadowattn_report report_of(const CallReport& done) {
  shadowattn_report report = {};
  report.dense_reason = done.dense_reason == shadowattn::DenseReason::kNone
                            ? ""
                            : shadowattn::describe(done.dense_reason).data();
  report.visible_pairs = done.visible_pairs;
  report.kept_pairs = done.kept_pairs;
  report.dense_rows = done.dense_rows;
  report.estimated_lost = done.estimated_rows > 0
                              ? done.estimated_lost / static_cast<double>(done.estimated_rows)
                              : 0.0;
  report.wall_ns = done.wall_ns;
  report.scratch_bytes = done.scratch_bytes;
  return report;
}

Result<std::unique_ptr<shadowattn_engine>> create(const char* text) {
  Result<Config> parsed = shadowattn::parse_config(text != nullptr ? text : "");
  if (!parsed.ok()) return parsed.status();
  Config config = std::move(parsed).value();
  if (!config.enabled) {
    return Status::invalid_argument("mode=off attends to nothing; mode=dense is what is exact");
  }
  if (!config.profile_path.empty()) {
    Result<Profile> profile = shadowattn::load_profile(config.profile_path);
    if (!profile.ok()) return profile.status();
    config.engine.profile = std::make_shared<const Profile>(std::move(profile).value());
  }
  constexpr int kMostThreads = 1024;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  config.engine.threads = config.threads > 0 ? config.threads : std::clamp(cores, 1, kMostThreads);
  Result<Engine> engine = Engine::create(config.engine);
  if (!engine.ok()) return engine.status();
  return std::make_unique<shadowattn_engine>(std::move(engine).value());
}

void tell(const std::string& why, char* message, size_t size) {
  if (size == 0) return;
  const size_t length = std::min(why.size(), size - 1);
  std::memcpy(message, why.data(), length);
  message[length] = '\0';
}

}  // namespace

const char* shadowattn_version() { return SHADOWATTN_VERSION; }

shadowattn_engine* shadowattn_create(const char* config, char* message, size_t size) try {
  Result<std::unique_ptr<shadowattn_engine>> engine = create(config);
  tell(engine.status().message(), message, size);
  return engine.ok() ? std::move(engine).value().release() : nullptr;
} catch (const std::bad_alloc&) {
  tell("out of memory", message, size);
  return nullptr;
}

shadowattn_status shadowattn_attend(shadowattn_engine* engine, const shadowattn_call* call,
                                    shadowattn_report* report) {
  if (engine == nullptr) return SHADOWATTN_INVALID_ARGUMENT;
  engine->message.clear();
  try {
    if (report != nullptr) *report = report_of({});
    if (call == nullptr) {
      engine->message = "there is no call";
      return SHADOWATTN_INVALID_ARGUMENT;
    }
    Result<AttentionCall> given = call_of(*call);
    CallReport done;
    const Status status = given.ok() ? engine->engine.attend(given.value(), &done) : given.status();
    engine->message = status.message();
    if (status.ok() && report != nullptr) *report = report_of(done);
    return status_of(status.code());
  } catch (const std::bad_alloc&) {
    return SHADOWATTN_OUT_OF_MEMORY;  // no memory for the message either
  }
}

const char* shadowattn_message(const shadowattn_engine* engine) {
  return engine != nullptr ? engine->message.c_str() : "there is no engine";
}

void shadowattn_free(shadowattn_engine* engine) { delete engine; }
