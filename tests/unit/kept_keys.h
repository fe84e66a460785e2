// Which keys an engine attends to, seen from outside.
#pragma once

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "engine_problem.h"

namespace shadowattn::test {

using Kept = std::vector<std::vector<std::set<int64_t>>>;  // [head][row]

/// What the engine attends to, seen through values that are one-hot: key j has a 1 in channel j and
/// the output is its weight, positive if and only if the key was kept.
inline Kept kept_keys(Engine& engine, const Problem& p) {
  constexpr int64_t kChannels = 256;
  const Shape& s = p.shape;
  Kept kept(static_cast<size_t>(s.heads),
            std::vector<std::set<int64_t>>(static_cast<size_t>(s.rows)));
  for (int64_t first = 0; first < s.keys; first += kChannels) {
    Tensor value(ElementType::kF32, s.kv_heads, s.keys, kChannels);
    value.for_each([&](int64_t, int64_t j, int64_t d) { return j == first + d ? 1.0 : 0.0; });
    Tensor output(ElementType::kF32, s.heads, s.rows, kChannels);
    AttentionCall call = p.call;
    call.value = value.view();
    call.output = output.output();
    const Status status = engine.attend(call);
    EXPECT_TRUE(status.ok()) << status.message();
    for (int64_t h = 0; h < s.heads; ++h) {
      for (int64_t i = 0; i < s.rows; ++i) {
        for (int64_t d = 0; d < std::min(kChannels, s.keys - first); ++d) {
          if (call.output.row(h, i)[d] == 0.0F) continue;
          kept[static_cast<size_t>(h)][static_cast<size_t>(i)].insert(first + d);
        }
      }
    }
  }
  return kept;
}

inline int64_t count(const Kept& kept) {
  size_t sum = 0;
  for (const auto& rows : kept) {
    for (const auto& keys : rows) sum += keys.size();
  }
  return static_cast<int64_t>(sum);
}

inline void expect_equal(const Kept& got, const Kept& expected) {
  for (size_t h = 0; h < expected.size(); ++h) {
    for (size_t i = 0; i < expected[h].size(); ++i) {
      ASSERT_EQ(got[h][i], expected[h][i]) << "head " << h << " row " << i;
    }
  }
}

}  // namespace shadowattn::test
