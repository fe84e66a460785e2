#include "device/shape_buckets.h"

#include <algorithm>

namespace shadowattn {
namespace {

std::vector<int32_t> make_buckets(int32_t multiple, int32_t maximum) {
  std::vector<int32_t> buckets;
  if (multiple < 1) return buckets;
  for (int64_t bucket = multiple; bucket <= maximum; bucket *= 2) {
    buckets.push_back(static_cast<int32_t>(bucket));
  }
  const int32_t largest = maximum / multiple * multiple;
  if (!buckets.empty() && largest > buckets.back()) buckets.push_back(largest);
  return buckets;
}

int32_t smallest_bucket(const std::vector<int32_t>& buckets, int64_t n) {
  if (n < 1) return 0;
  const auto found = std::lower_bound(buckets.begin(), buckets.end(), n);
  return found == buckets.end() ? 0 : *found;
}

bool is_bucket(const std::vector<int32_t>& buckets, int32_t n) {
  return std::binary_search(buckets.begin(), buckets.end(), n);
}

}  // namespace

ShapeBuckets::ShapeBuckets(const DeviceCapabilities& capabilities)
    : capabilities_(capabilities),
      row_buckets_(make_buckets(capabilities.row_multiple, capabilities.max_rows)),
      key_buckets_(make_buckets(capabilities.key_multiple, capabilities.max_keys)),
      head_buckets_(make_buckets(1, capabilities.max_heads)) {}

int32_t ShapeBuckets::rows(int32_t n) const { return smallest_bucket(row_buckets_, n); }

int32_t ShapeBuckets::keys(int32_t n) const { return smallest_bucket(key_buckets_, n); }

int32_t ShapeBuckets::max_keys(int32_t rows, int32_t dim) const {
  for (auto bucket = key_buckets_.rbegin(); bucket != key_buckets_.rend(); ++bucket) {
    if (takes(1, rows, *bucket, dim)) return *bucket;
  }
  return 0;
}

int32_t ShapeBuckets::fused_heads(int32_t wanted, int32_t rows, int32_t keys, int32_t dim) const {
  for (auto heads = head_buckets_.rbegin(); heads != head_buckets_.rend(); ++heads) {
    if (*heads <= wanted && takes(*heads, rows, keys, dim)) return *heads;
  }
  return 0;
}

bool ShapeBuckets::takes(int32_t heads, int32_t rows, int32_t keys, int32_t dim) const {
  const DeviceCapabilities& c = capabilities_;
  if (!is_bucket(row_buckets_, rows) || !is_bucket(key_buckets_, keys)) return false;
  if (dim < 1 || dim > c.max_dim || c.dim_multiple < 1 || dim % c.dim_multiple != 0) return false;
  const GraphSpec spec = {heads, rows, keys, dim, Requantisation{}};
  // Divided, not multiplied: 64 bits hold one head's bytes, not those of any number of heads.
  const int64_t head_limit = c.max_tensor_bytes / heads;
  return spec.query_bytes() <= head_limit && spec.key_bytes() <= head_limit &&
         spec.score_bytes() <= head_limit &&
         (c.graph_bytes == nullptr || c.graph_bytes(spec) <= c.max_graph_bytes);
}

std::vector<KeyTile> ShapeBuckets::cut(int64_t keys, int32_t largest) const {
  std::vector<KeyTile> tiles;
  if (keys < 1 || largest < 1) return tiles;
  tiles.reserve(static_cast<size_t>((keys - 1) / largest + 1));
  for (int64_t first = 0; first < keys; first += largest) {
    const auto count = static_cast<int32_t>(std::min<int64_t>(largest, keys - first));
    tiles.push_back({first, count, smallest_bucket(key_buckets_, count)});
  }
  return tiles;
}

}  // namespace shadowattn
