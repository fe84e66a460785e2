// The few shapes that graphs of a device are compiled for: a device computes fixed shapes only, so
// work is cut and padded to one of these.
//
//   rows, keys: row_multiple (key_multiple) · 1, 2, 4, … and the largest multiple that is taken
//   heads:      1, 2, 4, … and the most that are taken
//
// Padding is so at most half of a graph's rows or keys. Immutable; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "shadowattn/device.h"

namespace shadowattn {

/// A run of keys that one launch computes, padded to `bucket` keys.
struct KeyTile {
  int64_t first = 0;
  int32_t count = 0;
  int32_t bucket = 0;

  bool operator==(const KeyTile&) const = default;
};

class ShapeBuckets {
 public:
  /// Limits that make no sense give no buckets. Throws std::bad_alloc.
  explicit ShapeBuckets(const DeviceCapabilities& capabilities);

  /// The smallest bucket for `n` rows per head; 0 when there is none, as for n < 1.
  int32_t rows(int32_t n) const;
  /// The largest bucket; 0 when there is none. More rows take several launches.
  int32_t max_rows() const { return row_buckets_.empty() ? 0 : row_buckets_.back(); }

  /// Likewise for keys.
  int32_t keys(int32_t n) const;
  int32_t max_keys() const { return key_buckets_.empty() ? 0 : key_buckets_.back(); }
  /// The largest bucket of keys that a graph with one head of `rows` rows (a bucket) can have
  /// within the device's memory limits; 0 when there is none.
  int32_t max_keys(int32_t rows, int32_t dim) const;

  /// Cuts [0, keys) into tiles of the largest bucket and one tile of a smaller bucket for the rest.
  /// Empty when there are no keys or no bucket. Throws std::bad_alloc.
  std::vector<KeyTile> key_tiles(int64_t keys) const { return cut(keys, max_keys()); }
  /// The same with tiles of max_keys(rows, dim) at most.
  std::vector<KeyTile> key_tiles(int64_t keys, int32_t rows, int32_t dim) const {
    return cut(keys, max_keys(rows, dim));
  }

  /// The most heads, at most `wanted`, of this shape (two buckets, and dim) that one launch can
  /// have: the operands stay within max_tensor_bytes and the graph within max_graph_bytes. 0 when
  /// not even one head is possible.
  int32_t fused_heads(int32_t wanted, int32_t rows, int32_t keys, int32_t dim) const;

 private:
  bool takes(int32_t heads, int32_t rows, int32_t keys, int32_t dim) const;
  std::vector<KeyTile> cut(int64_t keys, int32_t largest) const;

  DeviceCapabilities capabilities_;
  std::vector<int32_t> row_buckets_;
  std::vector<int32_t> key_buckets_;
  std::vector<int32_t> head_buckets_;
};

}  // namespace shadowattn
