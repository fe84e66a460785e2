// The HVX kernel, in qemu-hexagon, against the plain formula: the same bits.
#include <gtest/gtest.h>

#include <memory>

#include "hexagon_problem.h"

namespace shadowattn::test {
namespace {

// One device for all tests of the suite: an emulator takes a while to start.
class HexagonKernel : public testing::Test {
 protected:
  static void SetUpTestSuite() { opened_ = new Result<std::unique_ptr<Device>>(open_emulated()); }
  static void TearDownTestSuite() {
    delete opened_;
    opened_ = nullptr;
  }
  void SetUp() override {
    if (opened_->ok()) return;
    ASSERT_EQ(opened_->status().code(), StatusCode::kUnsupported) << opened_->status().message();
    GTEST_SKIP() << opened_->status().message();
  }
  Device& device() { return *opened_->value(); }
  void check(const GraphSpec& spec, const HexagonProblem::Values& query,
             const HexagonProblem::Values& key) {
    SCOPED_TRACE(testing::Message()
                 << spec.heads << " heads, " << spec.rows << " rows, " << spec.keys << " keys, dim "
                 << spec.dim << ", mantissa " << spec.requantisation.mantissa << ", shift "
                 << spec.requantisation.shift);
    HexagonProblem problem(spec);
    expect_exact(device(), problem, 7, query, key);
  }
  void check_random(const GraphSpec& spec) {
    const auto seed = static_cast<uint32_t>(spec.rows * 31 + spec.keys * 7 + spec.dim);
    check(spec, random_bytes(seed), random_bytes(seed + 1));
  }

 private:
  static Result<std::unique_ptr<Device>>* opened_;
};

Result<std::unique_ptr<Device>>* HexagonKernel::opened_ = nullptr;

TEST_F(HexagonKernel, EveryDimension) {
  for (int32_t dim = 16; dim <= 256; dim += 16) check_random({1, 8, 256, dim, {181, 6}});
}

TEST_F(HexagonKernel, RowsAndKeys) {
  for (const int32_t rows : {4, 12, 20, 68}) check_random({1, rows, 128, 64, {200, 6}});
  for (const int32_t keys : {128, 384, 1152}) check_random({1, 4, keys, 80, {200, 6}});
}

TEST_F(HexagonKernel, EveryRequantisation) {
  for (int32_t shift = 0; shift <= 15; ++shift) {
    for (const int32_t mantissa : {128, 129, 200, 255}) {
      check_random({1, 4, 128, 32, {mantissa, shift}});
    }
  }
  for (const int32_t mantissa : {256, 1000, 16384, 32766, 32767}) {
    check({1, 4, 128, 16, {mantissa, 0}}, random_bytes(3, -5, 5), random_bytes(4, -5, 5));
  }
}

// Sums near every step of the rounding, and scores near both ends of the range.
TEST_F(HexagonKernel, Rounding) {
  for (const Requantisation requantisation : {Requantisation{255, 0}, Requantisation{128, 1},
                                              Requantisation{255, 7}, Requantisation{32767, 0}}) {
    for (const int32_t most : {1, 3, 20}) {
      check({1, 8, 128, 16, requantisation}, random_bytes(5, -most, most),
            random_bytes(6, -most, most));
    }
  }
}

TEST_F(HexagonKernel, Extremes) {
  for (const int32_t query : {-128, -127, 127}) {
    for (const int32_t key : {-128, -127, 127}) {
      for (const Requantisation requantisation :
           {Requantisation{255, 15}, Requantisation{128, 15}, Requantisation{32767, 0}}) {
        const auto always = [](int32_t value) {
          return [value] { return static_cast<int8_t>(value); };
        };
        check({1, 4, 128, 256, requantisation}, always(query), always(key));
      }
    }
  }
  check({1, 4, 128, 240, {255, 15}}, random_bytes(8, -128, 127), random_bytes(9, -128, 127));
}

// Every key and every dimension is told apart: one key, one dimension at a time is not zero.
TEST_F(HexagonKernel, EveryPosition) {
  const GraphSpec spec{1, 4, 256, 144, {32767, 0}};
  int64_t q = 0;
  const auto query = [&q] { return static_cast<int8_t>(q++ % 113 - 56); };
  int64_t k = 0;
  const auto key = [&k, &spec] {
    const int64_t j = k / spec.dim, d = k % spec.dim;
    ++k;
    return static_cast<int8_t>((j * 5 + 3) % spec.dim == d ? 1 : 0);
  };
  check(spec, query, key);
}

TEST_F(HexagonKernel, FusedHeads) {
  check_random({3, 4, 128, 48, {200, 6}});
  check_random({32, 4, 128, 16, {200, 5}});
}

TEST_F(HexagonKernel, LargestGraph) {
  const DeviceCapabilities& most = device().capabilities();
  EXPECT_EQ(most.max_dim, 256);
  check_random({1, most.max_rows, 128, 16, {200, 5}});
  check_random({1, 4, most.max_keys, 16, {200, 5}});
}

}  // namespace
}  // namespace shadowattn::test
