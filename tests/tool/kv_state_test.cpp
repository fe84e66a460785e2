#include "bench/kv_state.h"

#include <gtest/gtest.h>

#include <initializer_list>

namespace shadowattn::tool {
namespace {

using Bytes = std::vector<uint8_t>;

// Little-endian, `bytes` of each.
void put(Bytes& out, size_t bytes, std::initializer_list<uint64_t> numbers) {
  for (const uint64_t number : numbers) {
    for (size_t i = 0; i < bytes; ++i) out.push_back(static_cast<uint8_t>(number >> (8 * i)));
  }
}

constexpr uint64_t kF16 = 1;
constexpr uint64_t kQ8 = 8;

// Two cells, one layer, keys of 2 bytes, values of three f16. `types` of keys and values.
Bytes state(bool by_channel, uint64_t value_type = kF16, uint64_t streams = 1) {
  Bytes out;
  put(out, 4, {0xABCD, 0});
  put(out, 4, {streams, 2});
  put(out, 4, {0, 1, 0, 1, 1, 0});  // position, one sequence, sequence 0
  put(out, 4, {by_channel ? 1U : 0U, 1});
  put(out, 4, {kF16});
  put(out, 8, {2});
  put(out, 2, {100, 101});
  put(out, 4, {value_type});
  if (by_channel) {
    put(out, 4, {2, 3});
    put(out, 2, {1, 4, 2, 5, 3, 6});
  } else {
    put(out, 8, {6});
    put(out, 2, {1, 2, 3, 4, 5, 6});
  }
  return out;
}

TEST(KvState, ValuesComeChannelByChannel) {
  EXPECT_EQ(with_values_by_channel(state(false)), state(true));
}

TEST(KvState, EveryCacheOfASequenceIsConverted) {
  const Bytes one = state(false);
  Bytes two = one;
  two.insert(two.end(), one.begin() + 8, one.end());
  Bytes expected = state(true);
  const Bytes second(expected.begin() + 8, expected.end());
  expected.insert(expected.end(), second.begin(), second.end());
  EXPECT_EQ(with_values_by_channel(two), expected);
}

TEST(KvState, WhatIsNotKnownForSureIsRefused) {
  EXPECT_EQ(with_values_by_channel(state(true)), std::nullopt) << "by channel already";
  EXPECT_EQ(with_values_by_channel(state(false, kQ8)), std::nullopt);
  EXPECT_EQ(with_values_by_channel(state(false, kF16, 2)), std::nullopt);
  const Bytes whole = state(false);
  for (size_t length = 0; length < whole.size(); ++length) {
    if (length == 8) continue;  // magic and sequence alone: no cache at all
    EXPECT_EQ(with_values_by_channel(std::span(whole).first(length)), std::nullopt) << length;
  }
  Bytes longer = whole;
  longer.push_back(0);
  EXPECT_EQ(with_values_by_channel(longer), std::nullopt);
}

TEST(KvState, SizesThatDoNotFitAreRefused) {
  const Bytes whole = state(false);
  for (size_t at = 8; at < whole.size(); ++at) {
    Bytes damaged = whole;
    damaged[at] = 0xFF;
    const auto converted = with_values_by_channel(damaged);
    if (converted.has_value()) {
      EXPECT_EQ(converted->size(), state(true).size()) << at;
    }
  }
}

}  // namespace
}  // namespace shadowattn::tool
