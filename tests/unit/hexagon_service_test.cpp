// What the Hexagon program makes of messages, run natively: it trusts none.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "hexagon/service.h"

namespace shadowattn::test {
namespace {

// Touches every byte that a kernel may touch, so that a sanitiser sees what lies outside.
void touch(const HexagonGraph* graph, const int8_t* query, const int8_t* key, int8_t* scores) {
  int64_t sum = 0;
  for (int64_t i = 0; i < int64_t{graph->rows} * graph->dim; ++i) sum += query[i];
  const int64_t key_bytes = int64_t{graph->keys} * graph->dim;
  for (int64_t i = 0; i < key_bytes + kHexagonVectorBytes; ++i) sum += key[i];
  for (int64_t i = 0; i < int64_t{graph->rows} * graph->keys; ++i) {
    scores[i] = static_cast<int8_t>(sum);
  }
}

class HexagonServiceTest : public testing::Test {
 protected:
  HexagonServiceTest() : control_(kHexagonControlBytes / 8), service_(new HexagonService) {
    platform_.context = this;
    platform_.map = [](void* context, uint32_t bytes) -> void* {
      auto& self = *static_cast<HexagonServiceTest*>(context);
      if (bytes > 4 * kHexagonPageBytes) return nullptr;
      self.operands_.assign(bytes / 8, 0);
      self.operands_.shrink_to_fit();
      return self.operands_.data();
    };
    platform_.now_ns = [](void* context) {
      return ++static_cast<HexagonServiceTest*>(context)->time_;
    };
    platform_.ring = [](void* context) {
      auto& self = *static_cast<HexagonServiceTest*>(context);
      ++self.bells_;
      return self.heard_ ? 1 : 0;
    };
    platform_.kernel = touch;
    hexagon_service_start(service_.get(), &platform_, control_.data());
  }

  std::byte* bytes() { return reinterpret_cast<std::byte*>(control_.data()); }

  HexagonOutcome handle_raw(const void* message, std::size_t size) {
    std::memcpy(bytes() + hexagon_request_offset(++requests_), message, size);
    return hexagon_service_handle(service_.get());
  }
  template <typename Message>
  HexagonOutcome handle(int command, Message message, std::size_t size = sizeof(Message)) {
    hexagon_seal(reinterpret_cast<HexagonHeader*>(&message), static_cast<uint16_t>(command),
                 static_cast<uint32_t>(size), requests_ + 1);
    return handle_raw(&message, sizeof(message));
  }
  /// The next reply; checks that it was announced and is well formed.
  HexagonHelloReply reply() {
    HexagonHelloReply reply{};
    EXPECT_LT(replies_, bells_);
    std::memcpy(&reply, bytes() + hexagon_reply_offset(++replies_), sizeof(reply));
    EXPECT_EQ(hexagon_check(&reply, sizeof(reply), replies_), kHexagonOk);
    EXPECT_EQ(reply.reply.request, requests_);
    return reply;
  }
  /// Of a request with one reply.
  template <typename Message>
  int32_t status_of(int command, Message message, std::size_t size = sizeof(Message)) {
    EXPECT_EQ(handle(command, message, size), kHexagonContinue);
    const int32_t status = reply().reply.status;
    EXPECT_EQ(replies_, bells_);
    return status;
  }
  void greet() { ASSERT_EQ(status_of(kHexagonHello, HexagonHeader{}), kHexagonOk); }
  void prepare() {
    greet();
    ASSERT_EQ(status_of(kHexagonMap, HexagonMapRequest{{}, kHexagonPageBytes, 0}), kHexagonOk);
    ASSERT_EQ(status_of(kHexagonCompile, HexagonCompileRequest{{}, 5, kGraph, 0}), kHexagonOk);
  }
  static HexagonLaunchRequest launch_request() {
    HexagonLaunchRequest request{};
    request.graph = 5;
    request.head_count = 2;
    request.heads[0] = {0, 128, 16384};
    request.heads[1] = {256, 4096, 32768};
    return request;
  }
  static constexpr std::size_t launch_size(std::size_t heads) {
    return offsetof(HexagonLaunchRequest, heads) + heads * sizeof(HexagonHead);
  }

  static constexpr HexagonGraph kGraph{2, 4, 128, 16, 200, 5};
  std::vector<uint64_t> control_;
  std::vector<uint64_t> operands_;
  HexagonPlatform platform_{};
  std::unique_ptr<HexagonService> service_;
  uint64_t requests_ = 0;
  uint64_t replies_ = 0;
  uint64_t bells_ = 0;
  int64_t time_ = 0;
  bool heard_ = true;
};

TEST_F(HexagonServiceTest, TellsWhatItCan) {
  ASSERT_EQ(handle(kHexagonHello, HexagonHeader{}), kHexagonContinue);
  const HexagonHelloReply hello = reply();
  EXPECT_EQ(hello.reply.status, kHexagonOk);
  EXPECT_EQ(hello.reply.header.size, sizeof(hello));
  EXPECT_EQ(hello.graphs, kHexagonMaxGraphs);
  EXPECT_EQ(hello.most.dim, kHexagonMaxDim);
  EXPECT_EQ(hello.multiple.keys, kHexagonKeyMultiple);
}

TEST_F(HexagonServiceTest, WantsToBeGreeted) {
  EXPECT_EQ(status_of(kHexagonPing, HexagonHeader{}), kHexagonBadState);
  EXPECT_EQ(status_of(kHexagonCompile, HexagonCompileRequest{{}, 5, kGraph, 0}), kHexagonBadState);
  greet();
  EXPECT_EQ(status_of(kHexagonPing, HexagonHeader{}), kHexagonOk);
  EXPECT_EQ(status_of(kHexagonCompile, HexagonCompileRequest{{}, 5, kGraph, 0}), kHexagonOk);
  EXPECT_EQ(status_of(kHexagonLaunch, launch_request(), launch_size(2)), kHexagonBadState);
}

TEST_F(HexagonServiceTest, BadHeaders) {
  greet();
  const auto status_with = [this](auto change) {
    HexagonHeader header{};
    hexagon_seal(&header, kHexagonPing, sizeof(header), requests_ + 1);
    change(header);
    EXPECT_EQ(handle_raw(&header, sizeof(header)), kHexagonContinue);
    return reply().reply.status;
  };
  EXPECT_EQ(status_with([](HexagonHeader&) {}), kHexagonOk);
  EXPECT_EQ(status_with([](HexagonHeader& h) { h.magic ^= 1; }), kHexagonBadMagic);
  EXPECT_EQ(status_with([](HexagonHeader& h) { ++h.version; }), kHexagonBadVersion);
  EXPECT_EQ(status_with([](HexagonHeader& h) { h.size = 23; }), kHexagonBadSize);
  EXPECT_EQ(status_with([](HexagonHeader& h) { h.size = kHexagonRequestBytes + 1; }),
            kHexagonBadSize);
  EXPECT_EQ(status_with([](HexagonHeader& h) { h.size = 0xffffffff; }), kHexagonBadSize);
  EXPECT_EQ(status_with([](HexagonHeader& h) { h.checksum ^= 0x10000; }), kHexagonBadChecksum);
  EXPECT_EQ(status_with([](HexagonHeader& h) { h.command = kHexagonQuit; }), kHexagonBadChecksum);
  EXPECT_EQ(status_with([](HexagonHeader& h) {
              hexagon_seal(&h, kHexagonPing, sizeof(h), h.sequence + 1);
            }),
            kHexagonBadSequence);
  for (const int command : {0, 99, int{kHexagonFault}}) {
    EXPECT_EQ(status_of(command, HexagonHeader{}), kHexagonBadCommand);
  }
  EXPECT_EQ(status_of(kHexagonPing, HexagonHeader{}), kHexagonOk);
}

TEST_F(HexagonServiceTest, BadSizes) {
  prepare();
  EXPECT_EQ(status_of(kHexagonMap, HexagonHeader{}), kHexagonBadSize);
  EXPECT_EQ(status_of(kHexagonCompile, HexagonHeader{}), kHexagonBadSize);
  EXPECT_EQ(status_of(kHexagonRelease, HexagonHeader{}), kHexagonBadSize);
  EXPECT_EQ(status_of(kHexagonLaunch, HexagonHeader{}), kHexagonBadSize);
  for (const std::size_t heads : {std::size_t{0}, std::size_t{1}, std::size_t{3}}) {
    EXPECT_EQ(status_of(kHexagonLaunch, launch_request(), launch_size(heads)), kHexagonBadSize);
  }
}

TEST_F(HexagonServiceTest, BadMaps) {
  greet();
  for (const uint32_t bytes : {0u, 1u, 4096u, 0x80000000u, 0xffff0000u}) {
    EXPECT_EQ(status_of(kHexagonMap, HexagonMapRequest{{}, bytes, 0}), kHexagonBadOperand);
  }
  prepare();
  EXPECT_EQ(status_of(kHexagonMap, HexagonMapRequest{{}, 16 * kHexagonPageBytes, 0}),
            kHexagonMapFailed);
  EXPECT_EQ(status_of(kHexagonLaunch, launch_request(), launch_size(2)), kHexagonBadState);
}

TEST_F(HexagonServiceTest, BadGraphs) {
  prepare();
  const auto compile = [this](HexagonGraph graph) {
    return status_of(kHexagonCompile, HexagonCompileRequest{{}, 6, graph, 0});
  };
  using Member = int32_t HexagonGraph::*;
  const std::vector<std::pair<Member, std::vector<int32_t>>> wrong{
      {&HexagonGraph::heads, {-1, 0, 33, INT32_MAX}},
      {&HexagonGraph::rows, {-4, 0, 2, 1028, INT32_MIN}},
      {&HexagonGraph::keys, {-128, 0, 64, 16512, INT32_MAX}},
      {&HexagonGraph::dim, {-16, 0, 8, 272}},
      {&HexagonGraph::mantissa, {-1, 0, 127, 256, 32768}},
      {&HexagonGraph::shift, {-1, 16, 32}}};
  for (const auto& [member, values] : wrong) {
    for (const int32_t value : values) {
      HexagonGraph graph = kGraph;
      graph.*member = value;
      EXPECT_EQ(compile(graph), kHexagonBadGraph) << value;
    }
  }
  EXPECT_EQ(compile({1, 4, 128, 16, 32768, 0}), kHexagonBadGraph);
  EXPECT_EQ(compile({32, 1024, 16384, 256, 32767, 0}), kHexagonOk);
  EXPECT_EQ(compile(kGraph), kHexagonBadGraph);  // the id is taken
  EXPECT_EQ(status_of(kHexagonRelease, HexagonReleaseRequest{{}, 7, 0}), kHexagonBadGraph);
  EXPECT_EQ(status_of(kHexagonRelease, HexagonReleaseRequest{{}, 6, 0}), kHexagonOk);
  EXPECT_EQ(status_of(kHexagonRelease, HexagonReleaseRequest{{}, 6, 0}), kHexagonBadGraph);
  for (int32_t id = 6; id < 5 + kHexagonMaxGraphs; ++id) {
    ASSERT_EQ(status_of(kHexagonCompile, HexagonCompileRequest{{}, id, kGraph, 0}), kHexagonOk);
  }
  EXPECT_EQ(status_of(kHexagonCompile, HexagonCompileRequest{{}, -1, kGraph, 0}),
            kHexagonGraphsFull);
}

TEST_F(HexagonServiceTest, Launches) {
  prepare();
  ASSERT_EQ(handle(kHexagonLaunch, launch_request(), launch_size(2)), kHexagonContinue);
  int64_t last = 0;
  for (int32_t h = 0; h < 2; ++h) {
    const HexagonReply head = reply().reply;
    EXPECT_EQ(head.status, kHexagonOk);
    EXPECT_EQ(head.head, h);
    EXPECT_GT(head.start_ns, last);
    EXPECT_GT(head.end_ns, head.start_ns);
    last = head.end_ns;
  }
  EXPECT_EQ(replies_, bells_);
}

TEST_F(HexagonServiceTest, BadLaunches) {
  prepare();
  const auto launch = [this](auto change) {
    HexagonLaunchRequest request = launch_request();
    change(request);
    return status_of(kHexagonLaunch, request, launch_size(2));
  };
  EXPECT_EQ(launch([](HexagonLaunchRequest& r) { r.graph = 6; }), kHexagonBadGraph);
  for (const int32_t heads : {-1, 0, 1, 3, INT32_MAX}) {
    EXPECT_EQ(launch([heads](HexagonLaunchRequest& r) { r.head_count = heads; }), kHexagonBadGraph);
  }
  for (uint32_t HexagonHead::*member :
       {&HexagonHead::query, &HexagonHead::key, &HexagonHead::scores}) {
    for (const uint32_t offset : {1u, 64u, 65536u, 0x7fffff80u, 0xffffff80u}) {
      EXPECT_EQ(launch([&](HexagonLaunchRequest& r) { r.heads[1].*member = offset; }),
                kHexagonBadOperand);
    }
  }
  // Keys must leave room for what is read beyond them, others need not.
  const uint32_t end = kHexagonPageBytes;
  EXPECT_EQ(launch([](HexagonLaunchRequest& r) { r.heads[1].key = end - 2048; }),
            kHexagonBadOperand);
  HexagonLaunchRequest last = launch_request();
  last.heads[0] = {end - 128, end - 2048 - 128, end - 512};
  EXPECT_EQ(handle(kHexagonLaunch, last, launch_size(2)), kHexagonContinue);
  EXPECT_EQ(reply().reply.status, kHexagonOk);
  EXPECT_EQ(reply().reply.status, kHexagonOk);
}

// A sanitiser's business: whatever comes with a right checksum stays inside both regions.
TEST_F(HexagonServiceTest, RandomMessages) {
  prepare();
  std::mt19937 random(1);
  std::array<int, kHexagonGraphsFull + 1> seen{};
  for (int i = 0; i < 3000; ++i) {
    HexagonLaunchRequest request = launch_request();
    std::array<uint32_t, sizeof(request) / 4> words{};
    std::memcpy(words.data(), &request, sizeof(request));
    const std::size_t header = sizeof(HexagonHeader) / 4;
    for (uint32_t changes = random() % 4; changes > 0; --changes) {
      const auto bits = static_cast<uint32_t>(random());
      words[header + random() % 8] = random() % 2 ? bits : (bits % 600) * 128;
    }
    std::memcpy(&request, words.data(), sizeof(request));
    const int command = random() % 4 ? int{kHexagonLaunch} : static_cast<int>(random() % 10);
    if (command == kHexagonQuit) continue;
    EXPECT_EQ(handle(command, request, launch_size(random() % 8 ? 2 : random() % 33)),
              kHexagonContinue);
    ASSERT_GT(bells_, replies_);
    while (replies_ < bells_) {
      const int32_t status = reply().reply.status;
      ASSERT_TRUE(status >= 0 && status <= kHexagonGraphsFull);
      ++seen[static_cast<std::size_t>(status)];
    }
  }
  EXPECT_GT(seen[kHexagonOk], 100);
  EXPECT_GT(seen[kHexagonBadOperand], 100);
}

// Any single changed bit of a message is noticed.
TEST_F(HexagonServiceTest, EveryBitCounts) {
  prepare();
  const std::size_t size = launch_size(2);
  for (std::size_t bit = 0; bit < size * 8; ++bit) {
    HexagonLaunchRequest request = launch_request();
    hexagon_seal(&request.header, kHexagonLaunch, static_cast<uint32_t>(size), requests_ + 1);
    std::array<uint8_t, sizeof(request)> changed{};
    std::memcpy(changed.data(), &request, sizeof(request));
    changed[bit / 8] = static_cast<uint8_t>(changed[bit / 8] ^ (1u << (bit % 8)));
    ASSERT_EQ(handle_raw(changed.data(), changed.size()), kHexagonContinue);
    EXPECT_NE(reply().reply.status, kHexagonOk) << bit;
    ASSERT_EQ(replies_, bells_);
  }
}

TEST_F(HexagonServiceTest, Ends) {
  greet();
  EXPECT_EQ(handle(kHexagonQuit, HexagonHeader{}), kHexagonStop);
  EXPECT_EQ(reply().reply.status, kHexagonOk);
  heard_ = false;
  EXPECT_EQ(handle(kHexagonPing, HexagonHeader{}), kHexagonStop);
}

TEST_F(HexagonServiceTest, NobodyHearsAHead) {
  prepare();
  heard_ = false;
  const uint64_t before = bells_;
  EXPECT_EQ(handle(kHexagonLaunch, launch_request(), launch_size(2)), kHexagonStop);
  EXPECT_EQ(bells_, before + 1);
}

}  // namespace
}  // namespace shadowattn::test
