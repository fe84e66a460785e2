// What rows see of the blocks of a list, and the list of all that a tile sees, key by key against
// the mask.
#include "attend/seen_keys.h"

#include <gtest/gtest.h>

#include <memory>

#include "engine/mask_memory.h"
#include "engine_problem.h"
#include "mask_case.h"
#include "select/visible_keys.h"

namespace shadowattn {
namespace {

using test::MaskCase;
using test::Problem;

std::vector<MaskCase> mask_cases() {
  return {
      {"none", [](Problem&) {}},
      {"causal", [](Problem& p) { p.set_causal(280); }},
      {"interleaved", test::set_interleaved},
      {"shifted", [](Problem& p) { test::set_shifted(p, 140); }},
      {"shifted_window", [](Problem& p) { test::set_shifted(p, 140, 100); }},
      {"alibi", [](Problem& p) { p.set_alibi(280); }},
      {"all_hidden",
       [](Problem& p) { p.set_mask([](int64_t, int64_t, int64_t) { return -test::kInfinity; }); }},
      {"random_per_head",
       [](Problem& p) {
         test::Random random(2);
         p.set_mask(
             [&](int64_t, int64_t, int64_t) { return random.chance(0.6) ? -test::kInfinity : 0.0; },
             4);
       }},
      {"sparse",
       [](Problem& p) {
         test::Random random(3);
         p.set_mask([&](int64_t, int64_t, int64_t) {
           return random.chance(0.98) ? -test::kInfinity : 0.0;
         });
       }},
  };
}

class SeenKeysTest : public testing::TestWithParam<MaskCase> {
 protected:
  SeenKeysTest() : problem_({4, 2, 17, kKeys, 16, 16}) { GetParam().prepare(problem_); }

  static constexpr int64_t kKeys = 300;
  Problem problem_;
  std::unique_ptr<Executor> executor_ = make_thread_pool(2);
};

TEST_P(SeenKeysTest, WordsMatchTheMask) {
  const Visibility visibility(problem_.call, *executor_);
  SeenKeys seen;
  seen.reserve(200, visibility.end() - visibility.begin() + kKeys, visibility);
  test::Random random(7);
  for (int repeat = 0; repeat < 60; ++repeat) {
    std::vector<int32_t> keys;
    const double chance = random.chance(0.3) ? 1.0 : 0.3;
    for (int32_t j = 0; j < kKeys; ++j) {
      if (random.chance(chance)) keys.push_back(j);
    }
    const int64_t begin = random.integer(0, 100);
    const bool run = repeat % 3 == 0;
    const TokenList list = run ? TokenList{nullptr, begin, random.integer(0, kKeys - begin)}
                               : TokenList{keys.data(), 0, std::ssize(keys)};
    const int64_t first_row = random.integer(0, 16);
    const RowRange rows{first_row, random.integer(1, 17 - first_row)};
    seen.start(visibility, list);
    seen.add({rows, 0, 2});
    seen.add({rows, 2, 2});  // as the heads of the next KV head
    for (int64_t group = 0; group < 2; ++group) {
      const ListRows members{rows, 2 * group, 2};
      for (int64_t at = 0; at < list.count; at += kAttendBlock) {
        const int64_t count = std::min(kAttendBlock, list.count - at);
        std::vector<uint64_t> words(static_cast<size_t>(members.count()), 0xDEADU);
        int64_t pairs = 0;
        const BlockView view =
            seen.view(at, count, group * members.count(), members.count(), words.data(), &pairs);
        int64_t expected = 0;
        for (int64_t i = 0; i < members.count(); ++i) {
          uint64_t word = 0;
          for (int64_t j = 0; j < count; ++j) {
            const bool sees = test::reference_sees(problem_.call, members.head(i), members.row(i),
                                                   list.key(at + j));
            word |= uint64_t{sees} << j;
            expected += sees ? 1 : 0;
          }
          if (view == BlockView::kPartial) {
            ASSERT_EQ(words[static_cast<size_t>(i)], word);
          }
        }
        EXPECT_EQ(pairs, expected);
        EXPECT_EQ(view == BlockView::kNone, expected == 0);
        EXPECT_EQ(view == BlockView::kFull, expected == members.count() * count);
      }
    }
  }
}

TEST_P(SeenKeysTest, VisibleKeysAreAllThatSomeRowSees) {
  const Visibility visibility(problem_.call, *executor_);
  VisibleKeys visible;
  visible.reserve(visibility);
  for (const RowRange rows : {RowRange{0, 17}, RowRange{3, 1}, RowRange{8, 6}}) {
    for (const KeyRange within : {KeyRange{0, kKeys}, KeyRange{70, 135}, KeyRange{299, 300}}) {
      const TokenList list = visible.find(visibility, {rows, 0, 4}, within);
      int64_t at = 0;
      for (int64_t j = within.begin; j < within.end; ++j) {
        bool seen = false;
        for (int64_t h = 0; h < 4; ++h) {
          for (int64_t i = rows.first; i < rows.first + rows.count; ++i) {
            seen = seen || test::reference_sees(problem_.call, h, i, j);
          }
        }
        const bool listed = at < list.count && list.key(at) == j;
        if (listed) ++at;
        EXPECT_TRUE(listed || !seen) << j;
        EXPECT_TRUE(seen || !listed || list.keys == nullptr) << j;
      }
      EXPECT_EQ(at, list.count);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Masks, SeenKeysTest, testing::ValuesIn(mask_cases()), test::mask_label);

// --- Masks that are read once -------------------------------------------------------------------

TEST(MaskMemoryTest, AMaskOfTheSameIdIsReadOnce) {
  Problem p({4, 2, 17, 300, 16, 16});
  test::set_shifted(p, 140);
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  MaskMemory memory;
  p.call.mask.id = 5;
  const Visibility* first = &memory.read(p.call, *executor);
  EXPECT_EQ(&memory.read(p.call, *executor), first);
  AttentionCall other = p.call;
  other.mask.id = 6;
  EXPECT_NE(&memory.read(other, *executor), first);
  EXPECT_EQ(&memory.read(p.call, *executor), first) << "two are kept";
  other.mask.id = 0;
  const Visibility* without = &memory.read(other, *executor);
  EXPECT_TRUE(without->sees(0, 0, 0));
}

TEST(MaskMemoryTest, AHostThatLiesAboutTheIdIsFoundOut) {
  // The next tokens of the sequence, the same id.
  Problem p({4, 2, 17, 300, 16, 16});
  const std::unique_ptr<Executor> executor = make_thread_pool(1);
  MaskMemory memory;
  const auto causal = [&](int64_t offset) {
    p.set_mask(
        [=](int64_t, int64_t i, int64_t j) { return j <= i + offset ? 0.0 : -test::kInfinity; });
    p.call.mask.id = 5;
  };
  causal(200);
  EXPECT_EQ(memory.read(p.call, *executor).max_visible(), 217);
  causal(217);
  EXPECT_EQ(memory.read(p.call, *executor).max_visible(), 234);
  p.call.query.rows = 3;
  EXPECT_EQ(memory.read(p.call, *executor).max_visible(), 220) << "another shape";
}

}  // namespace
}  // namespace shadowattn
