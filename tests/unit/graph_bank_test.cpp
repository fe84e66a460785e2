// The bank of compiled graphs, on a device that only keeps account of what it is told, and minds
// its own limits.
#include "device/graph_bank.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <climits>
#include <map>
#include <string>
#include <vector>

#include "random_tensor.h"

namespace shadowattn {
namespace {

using test::Random;

/// 100 bytes per head.
int64_t bytes_per_head(const GraphSpec& spec) { return int64_t{100} * spec.heads; }

class FakeDevice : public Device {
 public:
  FakeDevice(int32_t max_graphs, int64_t max_bytes) {
    capabilities_.max_graphs = max_graphs;
    capabilities_.max_graph_bytes = max_bytes;
    capabilities_.graph_bytes = bytes_per_head;
  }

  const DeviceCapabilities& capabilities() const override { return capabilities_; }
  Status reserve(int64_t) override { return {}; }
  std::byte* memory() override { return nullptr; }

  Result<Ticket> compile(GraphId id, const GraphSpec& spec) override {
    if (!compile_status.ok()) return compile_status;
    EXPECT_GT(id, last_id_) << "ids ascend";
    last_id_ = id;
    graphs[id] = spec;
    EXPECT_LE(static_cast<int32_t>(graphs.size()), capabilities_.max_graphs);
    EXPECT_LE(bytes(), capabilities_.max_graph_bytes);
    ++compilations;
    return ++last_ticket_;
  }

  Status release(GraphId id) override {
    if (!release_status.ok()) return release_status;
    EXPECT_EQ(graphs.erase(id), 1U) << "released but not there: " << id;
    return {};
  }

  Result<Ticket> submit(const Launch&) override { return ++last_ticket_; }
  Status wait(Ticket, int32_t, Clock::time_point, HeadTiming*) override { return {}; }

  int64_t bytes() const {
    if (capabilities_.graph_bytes == nullptr) return 0;
    int64_t sum = 0;
    for (const auto& [id, spec] : graphs) sum += capabilities_.graph_bytes(spec);
    return sum;
  }
  void forget_graph_bytes() { capabilities_.graph_bytes = nullptr; }

  std::map<GraphId, GraphSpec> graphs;
  int compilations = 0;
  Status compile_status;
  Status release_status;

 private:
  DeviceCapabilities capabilities_;
  GraphId last_id_ = 0;
  Ticket last_ticket_ = 0;
};

GraphSpec graph(int32_t keys, int32_t heads = 1) {
  return {.heads = heads, .rows = 16, .keys = keys, .dim = 64};
}

GraphId find(GraphBank& bank, const GraphSpec& spec) {
  const Result<GraphId> id = bank.find(spec);
  EXPECT_TRUE(id.ok()) << id.status().message();
  return id.ok() ? id.value() : -1;
}

void expect_account(const GraphBank& bank, const FakeDevice& device) {
  const GraphBankCounters& counters = bank.counters();
  EXPECT_EQ(counters.resident_graphs, static_cast<int64_t>(device.graphs.size()));
  EXPECT_EQ(counters.resident_bytes, device.bytes());
  EXPECT_EQ(counters.compiled, device.compilations);
  EXPECT_EQ(counters.compiled - counters.released, counters.resident_graphs);
}

TEST(GraphBankTest, CompilesOnceAndKeeps) {
  FakeDevice device(4, 1000);
  GraphBank bank(device);
  EXPECT_FALSE(bank.resident(graph(64)));
  const GraphId id = find(bank, graph(64));
  EXPECT_TRUE(bank.resident(graph(64)));
  EXPECT_EQ(find(bank, graph(64)), id);
  EXPECT_EQ(device.graphs.at(id), graph(64));
  EXPECT_EQ(bank.compile_ticket(id), 1);
  EXPECT_EQ(bank.compile_ticket(id + 1), std::nullopt);
  EXPECT_EQ(bank.counters().hits, 1);
  expect_account(bank, device);
}

TEST(GraphBankTest, EverythingInASpecCounts) {
  FakeDevice device(100, 10000);
  GraphBank bank(device);
  std::vector<GraphSpec> specs(7, graph(64));
  specs[1].heads = 2;
  specs[2].rows = 32;
  specs[3].keys = 128;
  specs[4].dim = 128;
  specs[5].requantisation.mantissa = 129;
  specs[6].requantisation.shift = 1;
  for (const GraphSpec& spec : specs) find(bank, spec);
  EXPECT_EQ(bank.counters().compiled, 7);
  bank.refused(find(bank, specs[0]));
  for (size_t i = 1; i < specs.size(); ++i) EXPECT_TRUE(bank.resident(specs[i])) << i;
  for (size_t i = 1; i < specs.size(); ++i) find(bank, specs[i]);
  EXPECT_EQ(bank.counters().compiled, 7);
}

TEST(GraphBankTest, ReleasesTheLeastRecentlyUsed) {
  FakeDevice device(3, 1000);
  GraphBank bank(device);
  for (const int32_t keys : {1, 2, 3}) find(bank, graph(keys));
  find(bank, graph(1));
  find(bank, graph(4));
  EXPECT_TRUE(bank.resident(graph(1)));
  EXPECT_FALSE(bank.resident(graph(2)));
  EXPECT_TRUE(bank.resident(graph(3)));
  EXPECT_EQ(bank.counters().released, 1);
  expect_account(bank, device);
}

TEST(GraphBankTest, ReleasesSeveralForALargeOne) {
  FakeDevice device(10, 500);
  GraphBank bank(device);
  for (const int32_t keys : {1, 2, 3, 4, 5}) find(bank, graph(keys));
  find(bank, graph(6, 3));
  EXPECT_EQ(bank.counters().resident_graphs, 3);
  EXPECT_EQ(bank.counters().resident_bytes, 500);
  EXPECT_TRUE(bank.resident(graph(4)));
  EXPECT_TRUE(bank.resident(graph(5)));
  find(bank, graph(7, 5));
  EXPECT_EQ(bank.counters().resident_graphs, 1);
  expect_account(bank, device);
}

TEST(GraphBankTest, WhatNeverFitsReleasesNothing) {
  FakeDevice device(10, 500);
  GraphBank bank(device);
  find(bank, graph(1));
  EXPECT_EQ(bank.find(graph(2, 6)).status().code(), StatusCode::kUnsupported);
  EXPECT_TRUE(bank.resident(graph(1)));
  EXPECT_EQ(device.compilations, 1);

  FakeDevice none(0, 500);
  GraphBank empty(none);
  EXPECT_EQ(empty.find(graph(1)).status().code(), StatusCode::kUnsupported);
}

TEST(GraphBankTest, DeviceThatDoesNotSayHowLargeGraphsAre) {
  FakeDevice device(2, 0);
  device.forget_graph_bytes();
  GraphBank bank(device);
  for (const int32_t keys : {1, 2, 3}) find(bank, graph(keys));
  EXPECT_EQ(bank.counters().resident_graphs, 2);
  expect_account(bank, device);
}

TEST(GraphBankTest, RefusedIsNotAskedForAgain) {
  FakeDevice device(4, 1000);
  GraphBank bank(device);
  find(bank, graph(1));
  bank.refused(find(bank, graph(2)));
  EXPECT_EQ(bank.find(graph(2)).status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(device.compilations, 2);
  EXPECT_EQ(bank.counters().refused, 1);
  EXPECT_EQ(device.graphs.size(), 1U) << "its id is free again";
  expect_account(bank, device);
  for (const GraphId unknown : {0, -1, 77, INT_MAX}) bank.refused(unknown);
  EXPECT_EQ(bank.counters().refused, 1);
  EXPECT_TRUE(bank.resident(graph(1)));
}

TEST(GraphBankTest, ARefusalMayComeAfterTheRelease) {
  FakeDevice device(1, 1000);
  GraphBank bank(device);
  const GraphId first = find(bank, graph(1));
  find(bank, graph(2));
  find(bank, graph(1));  // under another id
  bank.refused(first);
  EXPECT_FALSE(bank.resident(graph(1)));
  EXPECT_FALSE(bank.find(graph(1)).ok());
  bank.refused(first);
  EXPECT_EQ(bank.counters().refused, 1);
  EXPECT_TRUE(bank.find(graph(2)).ok());
  expect_account(bank, device);
}

TEST(GraphBankTest, RefusedAtOnce) {
  FakeDevice device(4, 1000);
  GraphBank bank(device);
  device.compile_status = Status::unsupported("no");
  EXPECT_EQ(bank.find(graph(1)).status().message(), "no");
  device.compile_status = {};
  EXPECT_EQ(bank.find(graph(1)).status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(bank.counters().refused, 1);
  expect_account(bank, device);
}

TEST(GraphBankTest, AnotherErrorMayPass) {
  for (const StatusCode code : {StatusCode::kInvalidArgument, StatusCode::kDeviceFailed}) {
    FakeDevice device(1, 1000);
    GraphBank bank(device);
    find(bank, graph(1));
    device.compile_status = Status(code, "the queue is full");
    EXPECT_EQ(bank.find(graph(2)).status().code(), code);
    EXPECT_EQ(bank.counters().refused, 0);
    expect_account(bank, device);
    device.compile_status = {};
    find(bank, graph(2));
    expect_account(bank, device);
  }
}

TEST(GraphBankTest, AReleaseThatFailsIsReported) {
  FakeDevice device(1, 1000);
  GraphBank bank(device);
  find(bank, graph(1));
  device.release_status = Status(StatusCode::kDeviceFailed, "gone");
  EXPECT_EQ(bank.find(graph(2)).status().code(), StatusCode::kDeviceFailed);
  EXPECT_FALSE(bank.resident(graph(2)));
}

/// Least recently used last, as plainly as can be.
class PlainBank {
 public:
  PlainBank(size_t max_graphs, int64_t max_bytes) : max_graphs_(max_graphs), max_(max_bytes) {}

  void use(const GraphSpec& spec) {
    const auto found = std::find(specs.begin(), specs.end(), spec);
    if (found != specs.end()) specs.erase(found);
    specs.insert(specs.begin(), spec);
    while (specs.size() > max_graphs_ || bytes() > max_) specs.pop_back();
  }

  std::vector<GraphSpec> specs;

 private:
  int64_t bytes() const {
    int64_t sum = 0;
    for (const GraphSpec& spec : specs) sum += bytes_per_head(spec);
    return sum;
  }

  size_t max_graphs_;
  int64_t max_;
};

TEST(GraphBankTest, RandomUseIsThatOfAPlainList) {
  Random random(6);
  for (int trial = 0; trial < 20; ++trial) {
    const auto max_graphs = static_cast<int32_t>(random.integer(1, 6));
    const int64_t max_bytes = random.integer(400, 1500);
    FakeDevice device(max_graphs, max_bytes);
    GraphBank bank(device);
    PlainBank plain(static_cast<size_t>(max_graphs), max_bytes);
    for (int i = 0; i < 300; ++i) {
      const GraphSpec spec = graph(static_cast<int32_t>(random.integer(1, 5)),
                                   static_cast<int32_t>(random.integer(1, 4)));
      const GraphId id = find(bank, spec);
      plain.use(spec);
      ASSERT_EQ(device.graphs.at(id), spec);
      ASSERT_EQ(device.graphs.size(), plain.specs.size());
      for (const GraphSpec& resident : plain.specs) ASSERT_TRUE(bank.resident(resident));
    }
    expect_account(bank, device);
    EXPECT_EQ(bank.counters().compiled + bank.counters().hits, 300);
  }
}

}  // namespace
}  // namespace shadowattn
