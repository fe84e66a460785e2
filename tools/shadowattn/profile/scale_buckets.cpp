#include "profile/scale_buckets.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "kernels/half.h"

namespace shadowattn::tool {
namespace {

constexpr float kNarrowest = 1.4142135F;  // ratio of two scales: half a bit
constexpr float kRoom = 1.1F;
constexpr float kLastRoom = 2.0F;
constexpr float kLargestCode = 127.0F;

uint16_t read_half(const void* data, int64_t index) {
  uint16_t half = 0;
  std::memcpy(&half, static_cast<const char*>(data) + 2 * index, sizeof(half));
  return half;
}

float read_q8_0(const void* data, int64_t index) {
  const char* block = static_cast<const char*>(data) + index / kQ8BlockElements * kQ8BlockBytes;
  const auto code = static_cast<signed char>(block[2 + index % kQ8BlockElements]);
  return half_to_float(read_half(block, 0)) * static_cast<float>(code);
}

/// One row as floats.
void read_row(const TensorView& view, int64_t head, int64_t row, std::vector<float>& out) {
  out.resize(static_cast<size_t>(view.dim));
  const void* data = view.row(head, row);
  if (view.type == ElementType::kF32) {
    std::copy_n(static_cast<const float*>(data), view.dim, out.begin());
    return;
  }
  for (int64_t d = 0; d < view.dim; ++d) {
    out[static_cast<size_t>(d)] =
        view.type == ElementType::kF16 ? half_to_float(read_half(data, d)) : read_q8_0(data, d);
  }
}

float largest(std::span<const float> row, std::span<const double> mean) {
  float result = 0;
  for (size_t d = 0; d < row.size(); ++d) {
    const float value = std::abs(row[d] - static_cast<float>(mean.empty() ? 0.0 : mean[d]));
    if (!(value <= std::numeric_limits<float>::max())) return value;
    result = std::max(result, value);
  }
  return result;
}

/// The smallest scale that at most `clip_share` of the rows exceed; none where there is no sound
/// one.
std::optional<float> upper_scale(std::vector<float>& rows, double clip_share) {
  if (rows.empty() || std::any_of(rows.begin(), rows.end(), [](float x) {
        return !(x <= std::numeric_limits<float>::max());
      })) {
    return std::nullopt;
  }
  const auto above = static_cast<size_t>(clip_share * static_cast<double>(rows.size()));
  const size_t index = rows.size() - 1 - std::min(above, rows.size() - 1);
  const auto nth = rows.begin() + static_cast<std::ptrdiff_t>(index);
  std::nth_element(rows.begin(), nth, rows.end());
  const float scale = *nth / kLargestCode;
  if (!std::isnormal(scale)) return std::nullopt;
  return scale;
}

bool hides(const Mask& mask, int64_t row, int64_t key) {
  if (mask.kind == MaskKind::kCausal) return key > row + mask.causal_offset;
  if (mask.kind == MaskKind::kNone) return false;
  const void* data = mask.additive.row(0, row);
  const float value = mask.additive.type == ElementType::kF16
                          ? half_to_float(read_half(data, key))
                          : static_cast<const float*>(data)[key];
  return std::isinf(value) && value < 0;
}

/// Keys that the first or the last row sees: with one sequence, all that any row sees but for those
/// that a window leaves out on the way.
std::vector<int64_t> seen_keys(const AttentionCall& call) {
  std::vector<int64_t> keys;
  for (int64_t key = 0; call.query.rows > 0 && key < call.key.rows; ++key) {
    if (!hides(call.mask, 0, key) || !hides(call.mask, call.query.rows - 1, key)) {
      keys.push_back(key);
    }
  }
  return keys;
}

std::optional<float> query_scale(const AttentionCall& call, int64_t kv_head, double clip_share) {
  const int64_t group = call.query.heads / call.key.heads;
  std::vector<float> rows;
  std::vector<float> row;
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    for (int64_t i = 0; i < call.query.rows; ++i) {
      read_row(call.query, head, i, row);
      rows.push_back(largest(row, {}));
    }
  }
  return upper_scale(rows, clip_share);
}

std::optional<float> key_scale(const AttentionCall& call, int64_t kv_head,
                               std::span<const int64_t> keys, double clip_share) {
  std::vector<float> row;
  std::vector<double> mean(static_cast<size_t>(call.key.dim), 0.0);
  for (const int64_t key : keys) {
    read_row(call.key, kv_head, key, row);
    for (size_t d = 0; d < mean.size(); ++d) mean[d] += row[d] / static_cast<double>(keys.size());
  }
  std::vector<float> rows;
  for (const int64_t key : keys) {
    read_row(call.key, kv_head, key, row);
    rows.push_back(largest(row, mean));
  }
  return upper_scale(rows, clip_share);
}

}  // namespace

NeededScales measure_scales(const AttentionCall& call, double clip_share) {
  const std::vector<int64_t> keys = seen_keys(call);
  NeededScales needed;
  for (int64_t kv_head = 0; kv_head < call.key.heads; ++kv_head) {
    if (const auto scale = query_scale(call, kv_head, clip_share)) needed.query.push_back(*scale);
    if (const auto scale = key_scale(call, kv_head, keys, clip_share)) needed.key.push_back(*scale);
  }
  return needed;
}

std::vector<float> scale_buckets(std::vector<float> needed) {
  // So that even the last bucket is a normal float that a profile may hold.
  constexpr float kLargest = 0x1p120F;
  std::erase_if(needed, [](float x) { return !std::isnormal(x) || x < 0 || x > kLargest; });
  std::sort(needed.begin(), needed.end());
  std::vector<float> grid;
  for (size_t first = 0; first < needed.size();) {
    size_t next = first;
    while (next < needed.size() && needed[next] <= needed[first] * kNarrowest) ++next;
    grid.push_back(needed[next - 1] * kRoom);
    first = next;
  }
  if (!grid.empty()) grid.push_back(grid.back() * kLastRoom);
  return grid;
}

}  // namespace shadowattn::tool
