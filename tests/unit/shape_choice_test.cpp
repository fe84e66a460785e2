// Which lists are chosen, from made-up costs.
#include "plan/shape_choice.h"

#include <gtest/gtest.h>

#include "engine_problem.h"

namespace shadowattn {
namespace {

using test::Problem;

constexpr ListShape kShared{false, 8, true};
constexpr ListShape kOwn{false, 8, false};
constexpr ListShape kSingle{false, 1, false};

/// 32 rows of 4 heads see 1000 keys each.
class ShapeChoiceTest : public testing::Test {
 protected:
  ListShape choose(std::vector<ShapeOffer> offers) {
    return choose_lists(offers, visibility_, 4, 32);
  }

  Problem problem_{{.heads = 4, .rows = 32, .keys = 1000}};
  std::unique_ptr<Executor> executor_ = make_thread_pool(1);
  Visibility visibility_{problem_.call, *executor_};
};

// Per KV head: dense 128 000 pairs.
constexpr CostModel kEven = {.dense_pair = 1, .list_kept = 8};

TEST_F(ShapeChoiceTest, TheCheapestWins) {
  // A shared list of 8 rows costs 8 a key, 4 of a head each as much as their rows.
  CostModel own = kEven;
  own.list_kept = 2;
  EXPECT_EQ(choose({{kShared, kEven, 0.5}, {kOwn, own, 0.1}}), kOwn);
  EXPECT_EQ(choose({{kShared, kEven, 0.05}, {kOwn, own, 0.1}}), kShared);
  EXPECT_EQ(choose({{kShared, kEven, 0.1}, {kOwn, own, 0.1}}), kShared) << "ties stay coarse";
}

TEST_F(ShapeChoiceTest, DenseWhereNothingPays) {
  CostModel dear = kEven;
  dear.list_kept = 32;  // as much as dense at a share of one
  EXPECT_TRUE(choose({{kShared, dear, 1.0}}).dense);
  EXPECT_TRUE(choose({{kShared, dear, 0.96}}).dense) << "no clear gain";
  EXPECT_FALSE(choose({{kShared, dear, 0.9}}).dense);
  dear.list_key = 32;
  EXPECT_TRUE(choose({{kShared, dear, 0.02}}).dense) << "the estimate alone costs too much";
}

TEST_F(ShapeChoiceTest, CandidatesGoFromCoarseToFine) {
  EXPECT_EQ(list_candidates(kShared, 4),
            (std::vector<ListShape>{
                kShared, kOwn, {false, 4, false}, {false, 2, false}, {false, 1, false}}));
  EXPECT_EQ(
      list_candidates(kShared, 1),
      (std::vector<ListShape>{kShared, {false, 4, true}, {false, 2, true}, {false, 1, true}}));
  EXPECT_EQ(list_candidates(kSingle, 4), (std::vector<ListShape>{kSingle}));
  EXPECT_EQ(list_candidates({false, 3, false}, 4),
            (std::vector<ListShape>{{false, 3, false}, {false, 1, false}}));
}

}  // namespace
}  // namespace shadowattn
