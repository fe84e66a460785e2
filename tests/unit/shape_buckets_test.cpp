// Shapes of graphs: buckets against a plain list of what a device takes.
#include "device/shape_buckets.h"

#include <gtest/gtest.h>

#include <climits>
#include <set>

#include "random_tensor.h"

namespace shadowattn {
namespace {

using test::Random;

DeviceCapabilities some_device() {
  DeviceCapabilities c;
  c.max_heads = 8;
  c.max_rows = 512;
  c.max_keys = 4096;
  c.max_dim = 256;
  c.row_multiple = 16;
  c.key_multiple = 64;
  c.dim_multiple = 16;
  c.max_graphs = 8;
  c.max_graph_bytes = 1 << 20;
  c.max_tensor_bytes = 64 << 20;
  return c;
}

TEST(ShapeBucketsTest, PowersOfTwoTimesTheMultipleAndTheMaximum) {
  DeviceCapabilities c = some_device();
  c.row_multiple = 48;
  c.max_rows = 500;
  const ShapeBuckets buckets(c);
  std::set<int32_t> rows;
  for (int32_t n = 1; n <= 480; ++n) {
    const int32_t bucket = buckets.rows(n);
    EXPECT_GE(bucket, n);
    EXPECT_EQ(bucket % 48, 0);
    rows.insert(bucket);
  }
  EXPECT_EQ(rows, (std::set<int32_t>{48, 96, 192, 384, 480}));
  for (const int32_t bucket : rows) EXPECT_EQ(buckets.rows(bucket), bucket);
  EXPECT_EQ(buckets.max_rows(), 480);
  for (const int32_t none : {481, 500, INT_MAX, 0, -1, INT_MIN}) EXPECT_EQ(buckets.rows(none), 0);
  EXPECT_EQ(buckets.max_keys(), 4096);
  EXPECT_EQ(buckets.keys(1), 64);
  EXPECT_EQ(buckets.keys(65), 128);
  EXPECT_EQ(buckets.keys(4097), 0);
}

TEST(ShapeBucketsTest, LimitsThatMakeNoSenseGiveNoBuckets) {
  DeviceCapabilities c = some_device();
  c.row_multiple = 0;
  c.key_multiple = 8192;
  c.max_heads = 0;
  const ShapeBuckets none(c);
  EXPECT_EQ(none.max_rows(), 0);
  EXPECT_EQ(none.max_keys(), 0);
  EXPECT_EQ(none.rows(1), 0);
  EXPECT_TRUE(none.key_tiles(100).empty());
  EXPECT_EQ(none.max_keys(16, 64), 0);
  EXPECT_EQ(none.fused_heads(1, 16, 64, 64), 0);
  EXPECT_EQ(ShapeBuckets(DeviceCapabilities{}).max_rows(), 0);
}

TEST(ShapeBucketsTest, LargestNumbers) {
  DeviceCapabilities c = some_device();
  c.row_multiple = c.key_multiple = c.dim_multiple = 1;
  c.max_rows = c.max_keys = c.max_dim = c.max_heads = INT_MAX;
  c.max_tensor_bytes = INT64_MAX;
  const ShapeBuckets buckets(c);
  EXPECT_EQ(buckets.max_rows(), INT_MAX);
  EXPECT_EQ(buckets.keys(INT_MAX - 1), INT_MAX);
  EXPECT_EQ(buckets.fused_heads(INT_MAX, INT_MAX, INT_MAX, INT_MAX), 2);
  const std::vector<KeyTile> tiles = buckets.key_tiles(int64_t{INT_MAX} * 2 + 5);
  ASSERT_EQ(tiles.size(), 3U);
  EXPECT_EQ(tiles[2], (KeyTile{int64_t{INT_MAX} * 2, 5, 8}));
}

TEST(ShapeBucketsTest, KeyTilesCoverAllKeysOnce) {
  const ShapeBuckets buckets(some_device());
  for (const int64_t keys : {1, 63, 64, 65, 4095, 4096, 4097, 8192, 8193, 10000, 131072}) {
    const std::vector<KeyTile> tiles = buckets.key_tiles(keys);
    int64_t next = 0;
    for (size_t i = 0; i < tiles.size(); ++i) {
      EXPECT_EQ(tiles[i].first, next);
      EXPECT_EQ(tiles[i].bucket, buckets.keys(tiles[i].count));
      EXPECT_TRUE(i + 1 == tiles.size() || tiles[i].count == 4096);
      next += tiles[i].count;
    }
    EXPECT_EQ(next, keys);
  }
  EXPECT_EQ(buckets.key_tiles(4100),
            (std::vector<KeyTile>{{.first = 0, .count = 4096, .bucket = 4096},
                                  {.first = 4096, .count = 4, .bucket = 64}}));
  EXPECT_TRUE(buckets.key_tiles(0).empty());
  EXPECT_TRUE(buckets.key_tiles(-5).empty());
}

TEST(ShapeBucketsTest, KeyTilesStayWithinTheMemoryOfATensor) {
  DeviceCapabilities c = some_device();
  c.max_tensor_bytes = 512 * 1024;
  const ShapeBuckets buckets(c);
  EXPECT_EQ(buckets.max_keys(16, 128), 4096) << "4096 keys of 128 bytes are just enough";
  EXPECT_EQ(buckets.max_keys(16, 256), 2048);
  EXPECT_EQ(buckets.max_keys(512, 64), 1024) << "scores";
  EXPECT_EQ(buckets.max_keys(512, 60), 0) << "no multiple";
  EXPECT_EQ(buckets.max_keys(500, 64), 0) << "no bucket";
  const std::vector<KeyTile> tiles = buckets.key_tiles(2500, 512, 64);
  EXPECT_EQ(tiles, (std::vector<KeyTile>{{.first = 0, .count = 1024, .bucket = 1024},
                                         {.first = 1024, .count = 1024, .bucket = 1024},
                                         {.first = 2048, .count = 452, .bucket = 512}}));
}

TEST(ShapeBucketsTest, FusesAsManyHeadsAsTheDeviceTakes) {
  Random random(3);
  for (int trial = 0; trial < 500; ++trial) {
    DeviceCapabilities c = some_device();
    c.max_heads = static_cast<int32_t>(random.integer(1, 12));
    c.max_tensor_bytes = random.integer(1, 4 << 20);
    const bool counts_graphs = random.chance(0.5);
    if (counts_graphs) {
      c.graph_bytes = [](const GraphSpec& spec) { return int64_t{1000} * spec.heads; };
      c.max_graph_bytes = random.integer(500, 9000);
    }
    const ShapeBuckets buckets(c);
    const int32_t rows = buckets.rows(static_cast<int32_t>(random.integer(1, 512)));
    const int32_t keys = buckets.keys(static_cast<int32_t>(random.integer(1, 4096)));
    const auto dim = static_cast<int32_t>(16 * random.integer(1, 16));
    const auto wanted = static_cast<int32_t>(random.integer(-1, 14));
    int32_t expected = 0;
    for (int32_t heads = 1; heads <= std::min(wanted, c.max_heads); ++heads) {
      const bool bucket = (heads & (heads - 1)) == 0 || heads == c.max_heads;
      const int64_t largest = int64_t{heads} * std::max({int64_t{rows} * keys, int64_t{rows} * dim,
                                                         int64_t{keys} * dim});
      const bool graph_fits = !counts_graphs || 1000 * heads <= c.max_graph_bytes;
      if (bucket && largest <= c.max_tensor_bytes && graph_fits) expected = heads;
    }
    EXPECT_EQ(buckets.fused_heads(wanted, rows, keys, dim), expected) << "trial " << trial;
  }
}

TEST(ShapeBucketsTest, NoHeadsOfAShapeThatIsNotTaken) {
  const ShapeBuckets buckets(some_device());
  EXPECT_EQ(buckets.fused_heads(100, 64, 1024, 128), 8);
  EXPECT_EQ(buckets.fused_heads(7, 64, 1024, 128), 4);
  EXPECT_EQ(buckets.fused_heads(0, 64, 1024, 128), 0);
  EXPECT_EQ(buckets.fused_heads(4, 65, 1024, 128), 0);
  EXPECT_EQ(buckets.fused_heads(4, 64, 1000, 128), 0);
  for (const int32_t dim : {0, -16, 8, 272, INT_MAX}) {
    EXPECT_EQ(buckets.fused_heads(4, 64, 1024, dim), 0) << dim;
  }
}

}  // namespace
}  // namespace shadowattn
