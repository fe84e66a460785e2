#include "engine/call_checks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace shadowattn {
namespace {

constexpr int64_t kMaxHeadDim = 256;
constexpr int64_t kMaxRows = 64;
constexpr int kMaxThreads = 1024;

std::string text(int64_t value) { return std::to_string(value); }

bool is_share(double share) { return share >= 0.0 && share <= 1.0; }

bool is_grid(const std::vector<float>& scales) {
  for (size_t i = 0; i < scales.size(); ++i) {
    if (!std::isnormal(scales[i]) || scales[i] < 0.0F) return false;
    if (i > 0 && scales[i] <= scales[i - 1]) return false;
  }
  return true;
}

Status check_device(const DeviceOptions& o) {
  const std::vector<std::string_view> names = device_names();
  if (std::find(names.begin(), names.end(), o.name) == names.end()) {
    return Status::invalid_argument("unknown device \"" + o.name + "\"");
  }
  if (!is_share(o.clip_share) || !is_share(o.saturated_share)) {
    return Status::invalid_argument("clip_share and saturated_share must be in [0, 1]");
  }
  if (!is_grid(o.query_scales) || !is_grid(o.key_scales)) {
    return Status::invalid_argument("scales must be positive and ascending");
  }
  if (o.fuse_heads < 0 || o.timeout_ms < 0 || o.launch_us < 0 || o.max_graphs < 0 ||
      o.fault_at < 0) {
    return Status::invalid_argument("a device option must not be negative");
  }
  return {};
}

/// Keys or values.
Status check_dim(const char* name, const TensorView& view) {
  const int64_t dim = view.dim;
  if (dim % 16 != 0 || dim < 16 || dim > kMaxHeadDim) {
    return Status::unsupported(std::string(name) + " head dim " + text(dim) +
                               " is not a multiple of 16 from 16 to 256");
  }
  if (view.type == ElementType::kQ8_0 && dim % kQ8BlockElements != 0) {
    return Status::unsupported(std::string(name) + " head dim " + text(dim) +
                               " is not a multiple of 32, as q8_0 needs");
  }
  return {};
}

bool is_float(const TensorView& view) {
  return view.type == ElementType::kF32 || view.type == ElementType::kF16;
}

bool is_float_or_q8_0(const TensorView& view) {
  return is_float(view) || view.type == ElementType::kQ8_0;
}

Status check_mask(const AttentionCall& call) {
  const Mask& mask = call.mask;
  if (mask.kind == MaskKind::kCausal) {
    // Bounded so that row + offset + 1 cannot overflow.
    constexpr int64_t kFarthest = std::numeric_limits<int32_t>::max();
    if (mask.causal_offset > kFarthest || mask.causal_offset < -kFarthest) {
      return Status::invalid_argument("causal_offset " + text(mask.causal_offset) +
                                      " is out of range");
    }
    return {};
  }
  if (mask.kind == MaskKind::kNone) return {};
  if (mask.kind != MaskKind::kAdditive) return Status::invalid_argument("unknown mask kind");
  const TensorView& m = mask.additive;
  if (!is_float(m)) return Status::unsupported("mask must be f32 or f16");
  if (m.rows < call.query.rows || m.dim != call.key.rows) {
    return Status::invalid_argument("mask is [" + text(m.rows) + ", " + text(m.dim) +
                                    "], needed [" + text(call.query.rows) + ", " +
                                    text(call.key.rows) + "]");
  }
  if (m.heads < 1 || call.query.heads % m.heads != 0) {
    return Status::invalid_argument("mask heads " + text(m.heads) + " do not divide " +
                                    text(call.query.heads) + " query heads");
  }
  return {};
}

}  // namespace

Status check_options(const EngineOptions& o) {
  if (!(o.keep > 0.0 && o.keep <= 1.0)) {
    return Status::invalid_argument("keep must be in (0, 1], not " + std::to_string(o.keep));
  }
  if (!(o.attn_error >= 0.0 && o.attn_error < 1.0)) {
    return Status::invalid_argument("attn_error must be in [0, 1), not " +
                                    std::to_string(o.attn_error));
  }
  if (!(o.output_error >= 0.0 && o.output_error < 1.0)) {
    return Status::invalid_argument("output_error must be in [0, 1), not " +
                                    std::to_string(o.output_error));
  }
  if (o.sample_every < 0) return Status::invalid_argument("sample_every must not be negative");
  if (o.keep_floor < 0 || o.sink < 0 || o.recent < 0) {
    return Status::invalid_argument("keep_floor, sink and recent must not be negative");
  }
  if (o.rows_per_list < 1 || o.rows_per_list > kMaxRows) {
    return Status::invalid_argument("rows_per_list must be 1 … 64, not " + text(o.rows_per_list));
  }
  if (o.pilot_step < 1 || o.pilot_step > kMaxRows) {
    return Status::invalid_argument("pilot_step must be 1 … 64, not " + text(o.pilot_step));
  }
  if (o.threads < 1 || o.threads > kMaxThreads) {
    return Status::invalid_argument("threads must be 1 … 1024, not " + text(o.threads));
  }
  return check_device(o.device);
}

Status check_data(const AttentionCall& call) {
  if (call.query.rows == 0) return {};
  if (call.query.data == nullptr || call.output.data == nullptr) {
    return Status::invalid_argument("query or output has no data");
  }
  if (call.key.rows == 0) return {};
  if (call.key.data == nullptr || call.value.data == nullptr) {
    return Status::invalid_argument("key or value has no data");
  }
  if (call.mask.kind == MaskKind::kAdditive && call.mask.additive.data == nullptr) {
    return Status::invalid_argument("additive mask has no data");
  }
  return {};
}

Status Engine::supports(const AttentionCall& call) {
  const TensorView& q = call.query;
  const TensorView& k = call.key;
  const TensorView& v = call.value;
  if (q.type != ElementType::kF32) return Status::unsupported("query must be f32");
  if (!is_float_or_q8_0(k) || !is_float_or_q8_0(v)) {
    return Status::unsupported("keys and values must be f32, f16 or q8_0");
  }
  if (q.heads < 1 || k.heads < 1 || q.heads % k.heads != 0) {
    return Status::invalid_argument(text(q.heads) + " query heads are no multiple of " +
                                    text(k.heads) + " KV heads");
  }
  if (v.heads != k.heads || v.rows != k.rows) {
    return Status::unsupported("keys are [" + text(k.heads) + ", " + text(k.rows) +
                               "] but values [" + text(v.heads) + ", " + text(v.rows) + "]");
  }
  if (q.dim != k.dim) {
    return Status::invalid_argument("query head dim " + text(q.dim) + " is not key head dim " +
                                    text(k.dim));
  }
  if (Status status = check_dim("key", k); !status.ok()) return status;
  if (Status status = check_dim("value", v); !status.ok()) return status;
  constexpr int64_t kLimit = std::numeric_limits<int32_t>::max() / 2;
  if (q.rows < 0 || k.rows < 0 || q.rows > kLimit || k.rows > kLimit || q.heads > 65536) {
    return Status::invalid_argument("more rows, keys or heads than 2^30");
  }
  const OutputView& out = call.output;
  if (out.heads != q.heads || out.rows != q.rows || out.dim != v.dim) {
    return Status::invalid_argument("output is [" + text(out.heads) + ", " + text(out.rows) + ", " +
                                    text(out.dim) + "], needed [" + text(q.heads) + ", " +
                                    text(q.rows) + ", " + text(v.dim) + "]");
  }
  if (!std::isfinite(call.scale) || !std::isfinite(call.logit_softcap) ||
      call.logit_softcap < 0.0F) {
    return Status::invalid_argument("scale must be finite and logit_softcap finite and ≥ 0");
  }
  return check_mask(call);
}

}  // namespace shadowattn
