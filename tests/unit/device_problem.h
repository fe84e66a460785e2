// Launches on a device, for tests: seeded operands, an independent reference, what came out.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "random_tensor.h"
#include "shadowattn/device.h"

namespace shadowattn {

/// For GoogleTest, which would print bytes.
inline void PrintTo(const Status& status, std::ostream* out) {
  *out << "code " << static_cast<int>(status.code()) << ": " << status.message();
}

}  // namespace shadowattn

namespace shadowattn::test {

/// A safety net: nothing that works takes as long, even instrumented on a busy machine.
inline Device::Clock::time_point net() { return Device::Clock::now() + std::chrono::minutes(5); }

inline std::unique_ptr<Device> open(const DeviceOptions& options) {
  Result<std::unique_ptr<Device>> device = open_device(options);
  EXPECT_TRUE(device.ok()) << device.status().message();
  return device.ok() ? std::move(device).value() : nullptr;
}

/// The header's formula in double precision, where all of it is exact: the halves are rounded up
/// by floor, not by bits.
inline int reference_score(int64_t sum, Requantisation r) {
  double word = static_cast<double>(sum);
  if (r.shift > 0) word = std::floor(word / std::exp2(r.shift) + 0.5);
  word = std::clamp(word, -32768.0, 32767.0);
  return static_cast<int>(std::clamp(std::floor(word * r.mantissa / 32768.0 + 0.5), -127.0, 127.0));
}

/// The operands of one launch in device memory, from `offset` on, and what must come out.
class LaunchProblem {
 public:
  LaunchProblem(const GraphSpec& spec, uint64_t seed, int64_t offset = 0)
      : spec_(spec), heads_(static_cast<size_t>(spec.heads)), end_(offset), seed_(seed) {
    for (LaunchHead& head : heads_) {
      head.scores = take(spec.score_bytes());  // another order than the self-test's
      head.key = take(spec.key_bytes());
      head.query = take(spec.query_bytes());
    }
  }

  const GraphSpec& spec() const { return spec_; }
  const std::vector<LaunchHead>& heads() const { return heads_; }
  int64_t end() const { return end_; }  ///< bytes of memory needed, with the offset

  /// Operands: any values, or ±127 only.
  void fill(Device& device, bool extreme = false) {
    Random random(seed_);
    int8_t* base = reinterpret_cast<int8_t*>(device.memory());
    const auto fill_operand = [&](int64_t offset, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        const int64_t any = random.integer(-127, 127);
        base[offset + i] = static_cast<int8_t>(extreme ? (random.chance(0.1) ? -127 : 127) : any);
      }
    };
    for (const LaunchHead& head : heads_) {
      fill_operand(head.query, spec_.query_bytes());
      fill_operand(head.key, spec_.key_bytes());
      std::memset(base + head.scores, -128, static_cast<size_t>(spec_.score_bytes()));
    }
  }

  /// Scores of a head that differ from the reference.
  int64_t wrong_scores(Device& device, int32_t head) const {
    const int8_t* base = reinterpret_cast<const int8_t*>(device.memory());
    const LaunchHead& at = heads_[static_cast<size_t>(head)];
    int64_t wrong = 0;
    for (int64_t r = 0; r < spec_.rows; ++r) {
      for (int64_t j = 0; j < spec_.keys; ++j) {
        int64_t sum = 0;
        for (int64_t d = 0; d < spec_.dim; ++d) {
          sum += int64_t{base[at.query + r * spec_.dim + d]} * base[at.key + j * spec_.dim + d];
        }
        const int expected = reference_score(sum, spec_.requantisation);
        wrong += base[at.scores + r * spec_.keys + j] != expected ? 1 : 0;
      }
    }
    return wrong;
  }

 private:
  int64_t take(int64_t bytes) {
    const int64_t at = end_;
    end_ += (bytes + kDeviceAlignment - 1) / kDeviceAlignment * kDeviceAlignment;
    return at;
  }

  GraphSpec spec_;
  std::vector<LaunchHead> heads_;
  int64_t end_;
  uint64_t seed_;
};

/// Reserves, compiles as `id`, launches and waits for the last head.
inline Status run(Device& device, GraphId id, LaunchProblem& problem, bool extreme = false) {
  if (Status s = device.reserve(problem.end()); !s.ok()) return s;
  problem.fill(device, extreme);
  const auto compiled = device.compile(id, problem.spec());
  if (!compiled.ok()) return compiled.status();
  const auto ticket = device.submit({id, problem.heads()});
  if (!ticket.ok()) return ticket.status();
  return device.wait(ticket.value(), problem.spec().heads - 1, net(), nullptr);
}

}  // namespace shadowattn::test
