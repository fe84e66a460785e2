#include "device/launch_groups.h"

#include <algorithm>

namespace shadowattn {
namespace {

/// The heads that a device can do, those with the same multiplier together.
std::vector<std::vector<int32_t>> heads_by_graph(const std::vector<HeadBucket>& buckets,
                                                 int64_t first_head, int64_t heads) {
  std::vector<std::vector<int32_t>> alike;
  for (int64_t h = first_head; h < first_head + heads; ++h) {
    const HeadBucket& bucket = buckets[static_cast<size_t>(h)];
    if (bucket.use != HeadUse::kDevice) continue;
    const auto same = std::find_if(alike.begin(), alike.end(), [&](const auto& group) {
      return buckets[static_cast<size_t>(group.front())].requantisation == bucket.requantisation;
    });
    if (same != alike.end()) {
      same->push_back(static_cast<int32_t>(h));
    } else {
      alike.push_back({static_cast<int32_t>(h)});
    }
  }
  return alike;
}

/// Tiles from `tile` on, without heads. No key tiles when their rows see nothing.
LaunchGroup take_tiles(const CallContext& context, const ShapeBuckets& shapes,
                       const DeviceShape& shape, int64_t tile, int64_t first_head, int64_t heads) {
  const std::vector<QueryTile>& tiles = context.plan.tiles;
  LaunchGroup group;
  group.first_tile = tile;
  group.rows.first = tiles[static_cast<size_t>(tile)].rows.first;
  int64_t key_end = 0;
  for (; tile < std::ssize(tiles) && group.tiles < shape.tiles_per_group; ++tile, ++group.tiles) {
    const QueryTile& query_tile = tiles[static_cast<size_t>(tile)];
    group.rows.count += query_tile.rows.count;
    const ListRows all{query_tile.rows, first_head * shape.group_heads, heads * shape.group_heads};
    key_end = std::max(key_end, visible_range(context.visibility, all).end - shape.keys.begin);
  }
  if (key_end <= 0) return group;
  group.row_bucket = shapes.rows(static_cast<int32_t>(group.rows.count * shape.group_heads));
  // Cut as the whole context is: tiles never reach beyond the padded keys.
  group.key_tiles =
      shapes.key_tiles(key_end, shape.most_rows, static_cast<int32_t>(context.call.key.dim));
  return group;
}

/// How many of `wanted` heads one launch of the group takes; 1 when none, and the graph bank will
/// say what is wrong.
int32_t fused_heads(const LaunchGroup& group, const ShapeBuckets& shapes, int32_t wanted,
                    int64_t dim) {
  for (const KeyTile& key_tile : group.key_tiles) {
    wanted = std::min(wanted, shapes.fused_heads(wanted, group.row_bucket, key_tile.bucket,
                                                 static_cast<int32_t>(dim)));
  }
  return std::max(wanted, 1);
}

}  // namespace

std::vector<LaunchGroup> make_launch_groups(const CallContext& context, const ShapeBuckets& shapes,
                                            const DeviceShape& shape,
                                            const std::vector<HeadBucket>& buckets,
                                            int64_t first_head, int64_t heads) {
  const std::vector<QueryTile>& tiles = context.plan.tiles;
  const std::vector<std::vector<int32_t>> alike = heads_by_graph(buckets, first_head, heads);
  std::vector<LaunchGroup> groups;
  for (int64_t tile = 0; tile < std::ssize(tiles);) {
    if (keeps_everything(context, tiles[static_cast<size_t>(tile)], first_head)) {
      ++tile;
      continue;
    }
    LaunchGroup group = take_tiles(context, shapes, shape, tile, first_head, heads);
    tile += group.tiles;
    if (group.key_tiles.empty()) continue;
    for (const std::vector<int32_t>& same : alike) {
      for (auto head = same.begin(); head != same.end();) {
        const auto left = static_cast<int32_t>(same.end() - head);
        const int32_t fused =
            fused_heads(group, shapes, std::min(left, shape.fuse), context.call.key.dim);
        group.kv_heads.assign(head, head + fused);
        group.requantisation = buckets[static_cast<size_t>(*head)].requantisation;
        groups.push_back(group);
        head += fused;
      }
    }
  }
  return groups;
}

}  // namespace shadowattn
