// All devices give the same scores, and an engine the same output whichever of them estimates.
#include <gtest/gtest.h>

#include "device_problem.h"
#include "engine_problem.h"

namespace shadowattn::test {
namespace {

/// Null, and the test skipped, where the device cannot run.
std::unique_ptr<Device> open_or_skip(std::string_view name) {
  DeviceOptions options;
  options.name = name;
  Result<std::unique_ptr<Device>> device = open_device(options);
  if (device.ok()) return std::move(device).value();
  EXPECT_EQ(device.status().code(), StatusCode::kUnsupported) << device.status().message();
  return nullptr;
}

/// What a device left of seeded operands, head after head.
std::vector<int8_t> scores_of(Device& device, const GraphSpec& spec, bool extreme) {
  LaunchProblem problem(spec, 17);
  EXPECT_TRUE(device.reserve(problem.end()).ok());
  problem.fill(device, extreme);
  EXPECT_TRUE(device.compile(1, spec).ok());
  const Result<Ticket> ticket = device.submit({1, problem.heads()});
  EXPECT_TRUE(ticket.ok()) << ticket.status().message();
  std::vector<int8_t> scores;
  if (!ticket.ok()) return scores;
  for (int32_t h = 0; h < spec.heads; ++h) {
    EXPECT_TRUE(device.wait(ticket.value(), h, net(), nullptr).ok());
    const auto* from = reinterpret_cast<const int8_t*>(device.memory()) +
                       problem.heads()[static_cast<size_t>(h)].scores;
    scores.insert(scores.end(), from, from + spec.score_bytes());
  }
  EXPECT_TRUE(device.release(1).ok());
  return scores;
}

class DeviceAgreement : public testing::TestWithParam<std::string_view> {};

TEST_P(DeviceAgreement, SameScoresAsTheReferenceDevice) {
  const std::unique_ptr<Device> device = open_or_skip(GetParam());
  if (device == nullptr) GTEST_SKIP() << GetParam() << " cannot run here";
  const std::unique_ptr<Device> reference = open_or_skip("cpu");
  ASSERT_NE(reference, nullptr);
  const GraphSpec specs[] = {{1, 16, 128, 16, {32767, 0}},
                             {2, 32, 256, 64, {181, 6}},
                             {3, 16, 384, 128, {128, 9}},
                             {1, 48, 128, 256, {255, 15}}};
  for (const GraphSpec& spec : specs) {
    for (const bool extreme : {false, true}) {
      const std::vector<int8_t> expected = scores_of(*reference, spec, extreme);
      ASSERT_FALSE(expected.empty());
      ASSERT_EQ(scores_of(*device, spec, extreme), expected) << "dim " << spec.dim;
    }
  }
}

TEST_P(DeviceAgreement, SameOutputOfAnEngine) {
  std::unique_ptr<Device> device = open_or_skip(GetParam());
  if (device == nullptr) GTEST_SKIP() << GetParam() << " cannot run here";
  EngineOptions options = {.keep = 0.2, .keep_floor = 0, .sink = 2, .recent = 8};
  options.gate = false;
  const auto output = [&options](std::unique_ptr<Device> with) {
    Problem p({4, 2, 24, 700, 64, 32, ElementType::kF16});
    p.set_causal(676);
    Result<Engine> engine = Engine::create(test::fixed_keep(options), nullptr, std::move(with));
    EXPECT_TRUE(engine.ok()) << engine.status().message();
    const CallReport report = attend(engine.value(), p);
    EXPECT_EQ(report.device.rows, 24 * 2);
    EXPECT_EQ(report.device.note, "");
    return bits(p);
  };
  EXPECT_EQ(output(std::move(device)), output(open_or_skip("cpu")));
}

INSTANTIATE_TEST_SUITE_P(, DeviceAgreement, testing::Values("npu-sim", "hexagon"),
                         [](const auto& device) {
                           return std::string(device.param == "hexagon" ? "hexagon" : "npu_sim");
                         });

}  // namespace
}  // namespace shadowattn::test
