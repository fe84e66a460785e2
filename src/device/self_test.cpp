// The self-test of a device: graphs of several shapes against a scalar computation.
#include <algorithm>
#include <cstring>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "device/device_queue.h"
#include "kernels/pilot_dot/requantise.h"
#include "shadowattn/device.h"

namespace shadowattn {
namespace {

/// Beyond the ids that a caller is likely to use.
constexpr GraphId kFirstGraph = 1 << 30;

/// Never a score: shows what was not written.
constexpr int8_t kUnwritten = -128;

enum class Operands {
  kAny,      ///< [-127, 127], scores saturate
  kSmall,    ///< scores of all sizes for the multiplier
  kExtreme,  ///< ±127: the largest sums
};

struct SelfTestCase {
  GraphSpec spec;
  Operands operands = Operands::kAny;
};

/// From `value` up to the next size that the device takes, at most its largest.
int32_t fit(int32_t value, int32_t multiple, int32_t maximum) {
  return std::min((value + multiple - 1) / multiple * multiple, maximum / multiple * multiple);
}

/// Small shapes, because a device may be emulated: every dim, fused heads, more than one tile of
/// rows and keys, all kinds of multipliers. Without those that are too large for a small device.
std::vector<SelfTestCase> self_test_cases(const DeviceCapabilities& c) {
  const int32_t rows = fit(1, c.row_multiple, c.max_rows);
  const int32_t keys = fit(1, c.key_multiple, c.max_keys);
  const int32_t dim = fit(64, c.dim_multiple, c.max_dim);
  const int32_t more_rows = fit(3 * c.row_multiple, c.row_multiple, c.max_rows);
  const int32_t more_keys = fit(std::max(3 * c.key_multiple, 130), c.key_multiple, c.max_keys);
  std::vector<SelfTestCase> cases;
  for (int32_t d = 16; d <= std::min(c.max_dim, 256); d += 16) {
    if (d % c.dim_multiple != 0) continue;
    cases.push_back({{1, rows, keys, d, {.mantissa = 151, .shift = 4}}, Operands::kSmall});
  }
  for (int32_t shift = 0; shift <= 15; shift += 3) {
    cases.push_back({{1, rows, keys, dim, {.mantissa = 255, .shift = shift}}, Operands::kAny});
  }
  const GraphSpec large{1, more_rows, more_keys, dim, {.mantissa = 200, .shift = 6}};
  cases.push_back({large, Operands::kAny});
  cases.push_back(
      {{1, rows, keys, fit(256, c.dim_multiple, c.max_dim), {128, 15}}, Operands::kExtreme});
  cases.push_back({{1, rows, more_keys, dim, {.mantissa = 32767, .shift = 0}}, Operands::kExtreme});
  cases.push_back({{1, rows, keys, dim, {.mantissa = 3001, .shift = 0}}, Operands::kSmall});
  const int32_t heads = std::min(c.max_heads, 16);
  cases.push_back({{heads, rows, keys, dim, {.mantissa = 180, .shift = 5}}, Operands::kSmall});
  if (heads > 2) {
    cases.push_back({{2, more_rows, keys, dim, {.mantissa = 129, .shift = 7}}, Operands::kAny});
  }
  std::erase_if(cases, [&](const SelfTestCase& test) { return !c.supports(test.spec).ok(); });
  return cases;
}

std::string describe(const GraphSpec& spec) {
  return std::to_string(spec.heads) + " heads, " + std::to_string(spec.rows) + " rows, " +
         std::to_string(spec.keys) + " keys, dim " + std::to_string(spec.dim) + ", mantissa " +
         std::to_string(spec.requantisation.mantissa) + ", shift " +
         std::to_string(spec.requantisation.shift);
}

int64_t aligned(int64_t bytes) {
  return (bytes + kDeviceAlignment - 1) / kDeviceAlignment * kDeviceAlignment;
}

/// The operands of a launch, one after the other.
std::vector<LaunchHead> lay_out(const GraphSpec& spec, int64_t* bytes) {
  std::vector<LaunchHead> heads(static_cast<size_t>(spec.heads));
  int64_t offset = 0;
  const auto take = [&offset](int64_t size) {
    const int64_t at = offset;
    offset += aligned(size);
    return at;
  };
  for (LaunchHead& head : heads) {
    head.query = take(spec.query_bytes());
    head.key = take(spec.key_bytes());
    head.scores = take(spec.score_bytes());
  }
  *bytes = offset;
  return heads;
}

void fill(int8_t* values, int64_t count, Operands operands, std::mt19937& random) {
  const auto number = [&](int32_t largest) {
    return static_cast<int32_t>(random() % (2U * static_cast<uint32_t>(largest) + 1U)) - largest;
  };
  for (int64_t i = 0; i < count; ++i) {
    int32_t value = number(operands == Operands::kSmall ? 15 : 127);
    if (operands == Operands::kExtreme) value = random() % 8 == 0 ? -127 : 127;
    values[i] = static_cast<int8_t>(value);
  }
}

int8_t scalar_score(const GraphSpec& spec, const int8_t* query, const int8_t* key) {
  int32_t sum = 0;
  for (int32_t d = 0; d < spec.dim; ++d) sum += query[d] * key[d];
  return requantise(sum, spec.requantisation);
}

Status compare(const GraphSpec& spec, int32_t head, const int8_t* query, const int8_t* key,
               const int8_t* scores) {
  for (int64_t r = 0; r < spec.rows; ++r) {
    for (int64_t j = 0; j < spec.keys; ++j) {
      const int8_t expected = scalar_score(spec, query + r * spec.dim, key + j * spec.dim);
      const int8_t found = scores[r * spec.keys + j];
      if (found == expected) continue;
      return {StatusCode::kDeviceFailed, "score of head " + std::to_string(head) + ", row " +
                                             std::to_string(r) + ", key " + std::to_string(j) +
                                             " is " + std::to_string(found) + ", not " +
                                             std::to_string(expected)};
    }
  }
  return {};
}

/// Compiles, launches and compares one case; the graph stays.
Status run_case(Device& device, GraphId id, const SelfTestCase& test, uint32_t seed) {
  const GraphSpec& spec = test.spec;
  int64_t bytes = 0;
  const std::vector<LaunchHead> heads = lay_out(spec, &bytes);
  if (Status s = device.reserve(bytes); !s.ok()) return s;
  auto* base = reinterpret_cast<int8_t*>(device.memory());
  std::mt19937 random(seed);
  for (const LaunchHead& head : heads) {
    fill(base + head.query, spec.query_bytes(), test.operands, random);
    fill(base + head.key, spec.key_bytes(), test.operands, random);
    std::memset(base + head.scores, kUnwritten, static_cast<size_t>(spec.score_bytes()));
  }
  const auto compiled = device.compile(id, spec);
  if (!compiled.ok()) return compiled.status();
  const auto deadline = [&] { return Device::Clock::now() + device.capabilities().timeout; };
  if (Status s = device.wait(compiled.value(), 0, deadline(), nullptr); !s.ok()) return s;
  const auto launched = device.submit({id, heads});
  if (!launched.ok()) return launched.status();
  Status result;
  for (int32_t h = 0; h < spec.heads; ++h) {
    const LaunchHead& head = heads[static_cast<size_t>(h)];
    // Waits for all heads even so: nothing stays in flight.
    if (Status s = device.wait(launched.value(), h, deadline(), nullptr); !s.ok()) return s;
    if (!result.ok()) continue;
    result = compare(spec, h, base + head.query, base + head.key, base + head.scores);
  }
  return result;
}

}  // namespace

Status self_test(Device& device) try {
  const std::vector<SelfTestCase> cases = self_test_cases(device.capabilities());
  if (cases.empty()) return Status::unsupported("the device takes no shape of the self-test");
  GraphId id = kFirstGraph;
  for (const SelfTestCase& test : cases) {
    Status s = run_case(device, id, test, static_cast<uint32_t>(id));
    const Status released = device.release(id++);  // of a graph that was not compiled: no matter
    if (s.ok()) s = released;
    if (!s.ok()) return {s.code(), s.message() + " (" + describe(test.spec) + ")"};
  }
  return {};
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

}  // namespace shadowattn
