// Launches for tests of the device `hexagon`: operands, expected scores, the emulated program and
// its native stand-in.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "device/hexagon.h"
#include "hexagon_reference.h"
#include "shadowattn/device.h"

namespace shadowattn::test {

/// A safety net: nothing is expected to take so long, whatever else the machine does.
inline constexpr std::chrono::minutes kHexagonPatience{5};

inline Device::Clock::time_point hexagon_deadline() {
  return Device::Clock::now() + kHexagonPatience;
}

/// SHADOWATTN_HEXAGON_FAKE comes from CMake.
inline std::vector<std::string> fake_program(const std::string& mode = {}, int command = 0) {
  return {SHADOWATTN_HEXAGON_FAKE, mode, std::to_string(command)};
}

inline Result<std::unique_ptr<Device>> open_fake(const std::string& mode = {}, int command = 0) {
  return start_hexagon(fake_program(mode, command), kHexagonPatience);
}

inline Result<std::unique_ptr<Device>> open_emulated() {
  DeviceOptions options;
  options.timeout_ms = static_cast<int32_t>(std::chrono::milliseconds(kHexagonPatience).count());
  return open_hexagon(options);
}

/// Where the operands of a launch lie, how large they are, and what comes out.
class HexagonProblem {
 public:
  using Values = std::function<int8_t()>;

  /// The last head's keys end where the memory may end.
  explicit HexagonProblem(const GraphSpec& spec) : spec_(spec) {
    for (int32_t h = 0; h < spec.heads; ++h) {
      LaunchHead head;
      head.scores = take(spec.score_bytes());
      head.query = take(spec.query_bytes());
      head.key = take(spec.key_bytes());
      heads_.push_back(head);
    }
  }

  const GraphSpec& spec() const { return spec_; }
  const std::vector<LaunchHead>& heads() const { return heads_; }
  int64_t bytes() const { return bytes_; }

  /// Fills the operands, and the rest of the memory with what nothing may overwrite.
  void fill(std::byte* memory, const Values& query, const Values& key) {
    std::memset(memory, 0x5a, static_cast<std::size_t>(bytes_));
    for (const LaunchHead& head : heads_) {
      const auto write = [&](int64_t at, int64_t count, const Values& values) {
        for (int64_t i = 0; i < count; ++i) memory[at + i] = static_cast<std::byte>(values());
      };
      write(head.query, spec_.query_bytes(), query);
      write(head.key, spec_.key_bytes(), key);
    }
    expected_.assign(memory, memory + bytes_);
    auto* values = reinterpret_cast<int8_t*>(expected_.data());
    for (const LaunchHead& head : heads_) {
      reference_scores(spec_, values + head.query, values + head.key, values + head.scores);
    }
  }

  /// Of all bytes, so also those that are not scores.
  int64_t differences(const std::byte* memory) const {
    int64_t count = 0;
    for (int64_t i = 0; i < bytes_; ++i) {
      if (memory[i] != expected_[static_cast<std::size_t>(i)]) ++count;
    }
    return count;
  }

 private:
  int64_t take(int64_t bytes) {
    const int64_t at = bytes_;
    bytes_ += bytes;
    bytes_ += (kDeviceAlignment - bytes_ % kDeviceAlignment) % kDeviceAlignment;
    return at;
  }

  GraphSpec spec_;
  std::vector<LaunchHead> heads_;
  int64_t bytes_ = 0;
  std::vector<std::byte> expected_;
};

inline HexagonProblem::Values random_bytes(uint32_t seed, int32_t low = -127, int32_t high = 127) {
  return [random = std::mt19937(seed), low, high]() mutable {
    const auto range = static_cast<uint32_t>(high - low + 1);
    return static_cast<int8_t>(low + static_cast<int32_t>(random() % range));
  };
}

/// Runs one launch under graph `id` and compares everything.
inline void expect_exact(Device& device, HexagonProblem& problem, GraphId id,
                         const HexagonProblem::Values& query, const HexagonProblem::Values& key) {
  ASSERT_TRUE(device.reserve(problem.bytes()).ok());
  problem.fill(device.memory(), query, key);
  Result<Ticket> compiled = device.compile(id, problem.spec());
  ASSERT_TRUE(compiled.ok()) << compiled.status().message();
  Result<Ticket> launched = device.submit({id, problem.heads()});
  ASSERT_TRUE(launched.ok()) << launched.status().message();
  ASSERT_TRUE(device.wait(compiled.value(), 0, hexagon_deadline(), nullptr).ok());
  const Status status =
      device.wait(launched.value(), problem.spec().heads - 1, hexagon_deadline(), nullptr);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(problem.differences(device.memory()), 0);
  EXPECT_TRUE(device.release(id).ok());
}

}  // namespace shadowattn::test
