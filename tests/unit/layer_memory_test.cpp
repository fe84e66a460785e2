#include "engine/layer_memory.h"

#include <gtest/gtest.h>

namespace shadowattn {
namespace {

std::vector<RowSample> samples(int64_t count, int32_t head, double lost) {
  RowSample sample;
  sample.head = head;
  sample.lost = lost;
  return std::vector<RowSample>(static_cast<size_t>(count), sample);
}

TEST(LayerMemoryTest, RemembersLayersAndForgetsCallsWithoutOne) {
  LayerMemory memory;
  memory.heads(3, 2)[1].chosen_at = 100;
  memory.heads(4, 2)[1].chosen_at = 200;
  EXPECT_EQ(memory.heads(3, 2)[1].chosen_at, 100);
  EXPECT_EQ(memory.heads(3, 2)[0].chosen_at, 0);
  for (const int32_t none : {-1, -2147483647, 2147483647}) {
    memory.heads(none, 2)[1].chosen_at = 7;
    EXPECT_EQ(memory.heads(none, 2)[1].chosen_at, 0) << none;
  }
  EXPECT_EQ(std::ssize(memory.heads(3, 5)), 5) << "another model";
  EXPECT_EQ(memory.heads(3, 5)[1].chosen_at, 0);
}

TEST(LayerMemoryTest, ChoicesGrowOld) {
  KvHeadMemory head;
  EXPECT_TRUE(LayerMemory::is_stale(head, 1000));
  head.chosen_at = 1000;
  EXPECT_FALSE(LayerMemory::is_stale(head, 1000));
  EXPECT_FALSE(LayerMemory::is_stale(head, 1500));
  EXPECT_TRUE(LayerMemory::is_stale(head, 1501));
  EXPECT_FALSE(LayerMemory::is_stale(head, 500));
  EXPECT_TRUE(LayerMemory::is_stale(head, 499)) << "another prompt";
}

TEST(LayerMemoryTest, TwoMissesInARunMakeAHeadStrict) {
  constexpr int64_t kJudged = LayerMemory::kJudged;
  std::vector<KvHeadMemory> heads(2);
  const auto judge = [&](int64_t count, int32_t head, double lost) {
    LayerMemory::judge(samples(count, head, lost), 2, 0.01, heads);
  };
  judge(kJudged, 2, 0.02);
  EXPECT_EQ(heads[1].strictness, 1.0) << "once";
  judge(kJudged, 3, 0.005);
  judge(kJudged, 2, 0.02);
  EXPECT_EQ(heads[1].strictness, 1.0) << "not in a run";
  judge(kJudged - 1, 3, 0.02);
  EXPECT_EQ(heads[1].strictness, 1.0) << "too few samples";
  judge(1, 3, 0.02);
  EXPECT_EQ(heads[1].strictness, 2.0);
  EXPECT_EQ(heads[0].strictness, 1.0) << "the other KV head";
  for (int i = 0; i < 100; ++i) judge(kJudged, 2, 0.5);
  EXPECT_EQ(heads[1].strictness, LayerMemory::kStrictest);
}

TEST(LayerMemoryTest, StrictnessFallsAgain) {
  std::vector<KvHeadMemory> heads(1);
  const auto judge = [&](double lost) {
    LayerMemory::judge(samples(LayerMemory::kJudged, 0, lost), 1, 0.01, heads);
  };
  for (int i = 0; i < 4; ++i) judge(0.02);
  EXPECT_EQ(heads[0].strictness, 4.0);
  for (int i = 0; i < 3; ++i) judge(0.001);
  EXPECT_EQ(heads[0].strictness, 4.0) << "too few";
  judge(0.005);  // within the aim, but not by far
  for (int i = 0; i < 3; ++i) judge(0.001);
  EXPECT_EQ(heads[0].strictness, 4.0) << "not in a run";
  judge(0.001);
  EXPECT_EQ(heads[0].strictness, 2.0);
  for (int i = 0; i < 20; ++i) judge(0.0);
  EXPECT_EQ(heads[0].strictness, 1.0) << "never looser than asked";
}

TEST(LayerMemoryTest, WithoutAnAimThereAreNoMisses) {
  std::vector<KvHeadMemory> heads(1);
  for (int i = 0; i < 10; ++i) {
    LayerMemory::judge(samples(LayerMemory::kJudged, 0, 0.9), 1, 0.0, heads);
  }
  EXPECT_EQ(heads[0].strictness, 1.0);
}

}  // namespace
}  // namespace shadowattn
