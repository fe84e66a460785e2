// How a call is cut into launches: which tiles and KV heads go together, and where their operands
// lie.
#pragma once

#include <cstdint>
#include <vector>

#include "device/device_operands.h"
#include "device/shape_buckets.h"
#include "plan/call_context.h"

namespace shadowattn {

/// KV heads that share a bucket × a run of query tiles.
struct LaunchGroup {
  int64_t first_tile = 0;  ///< of CallPlan::tiles
  int64_t tiles = 0;
  RowRange rows;
  std::vector<int32_t> kv_heads;
  Requantisation requantisation;
  int32_t row_bucket = 0;
  std::vector<KeyTile> key_tiles;  ///< relative to the first visible key
};

/// Where operands lie in the device's memory: the keys of some KV heads, then the slots.
struct DeviceLayout {
  int64_t first_key = 0;      ///< absolute
  int64_t padded_keys = 0;    ///< per KV head
  int64_t first_kv_head = 0;  ///< whose keys are there
  int64_t head_bytes = 0;     ///< from the keys of one head to the next
  int64_t slots_offset = 0;
  int64_t slot_bytes = 0;
  int32_t slots = 1;
};

/// How a call is cut for the device.
struct DeviceShape {
  int64_t group_heads = 0;
  int64_t tiles_per_group = 1;
  int32_t most_rows = 0;  ///< row bucket of a full group
  int32_t fuse = 1;       ///< KV heads per launch at most
  int64_t heads_at_once = 1;
  KeyRange keys;
  DeviceLayout layout;  ///< but for first_kv_head
};

/// The launches for KV heads [first_head, first_head + heads), tile after tile. Heads without a
/// bucket are left out, and so are the first tiles of a prompt, which keep everything. `buckets`:
/// of all KV heads. Throws std::bad_alloc.
std::vector<LaunchGroup> make_launch_groups(const CallContext& context, const ShapeBuckets& shapes,
                                            const DeviceShape& shape,
                                            const std::vector<HeadBucket>& buckets,
                                            int64_t first_head, int64_t heads);

}  // namespace shadowattn
