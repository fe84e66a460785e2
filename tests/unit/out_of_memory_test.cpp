// No memory must come back as kOutOfMemory, at whatever allocation it happens. This file replaces
// operator new for the whole test program; sanitizers bring their own, so there it does nothing.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "engine_problem.h"
#include "shadowattn/device.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SHADOWATTN_TEST_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SHADOWATTN_TEST_ALLOCATIONS 0
#endif
#endif
#ifndef SHADOWATTN_TEST_ALLOCATIONS
#define SHADOWATTN_TEST_ALLOCATIONS 1
#endif

#if SHADOWATTN_TEST_ALLOCATIONS

namespace {

/// Allocations until one fails; negative: none does.
std::atomic<int64_t> allocations_left{-1};

bool fails() {
  return allocations_left.load(std::memory_order_relaxed) >= 0 &&
         allocations_left.fetch_sub(1, std::memory_order_relaxed) == 0;
}

void* allocate(size_t size, size_t alignment) {
  const size_t rounded = (std::max<size_t>(size, 1) + alignment - 1) / alignment * alignment;
  if (rounded < size || fails()) throw std::bad_alloc();
  void* p = alignment <= alignof(std::max_align_t) ? std::malloc(rounded)
                                                   : std::aligned_alloc(alignment, rounded);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

void* operator new(size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }

#endif

namespace shadowattn {
namespace {

class OutOfMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    if (SHADOWATTN_TEST_ALLOCATIONS == 0) {
      GTEST_SKIP() << "sanitizers stop the program where memory runs out";
    }
  }
};

#if SHADOWATTN_TEST_ALLOCATIONS

TEST_F(OutOfMemoryTest, EveryAllocationOfCreateMayFail) {
  const EngineOptions options = {.threads = 3, .isa = "scalar"};
  bool done = false;
  int64_t failures = 0;
  for (int64_t n = 0; !done; ++n) {
    ASSERT_LT(n, 1000);
    allocations_left = n;
    const Result<Engine> engine = Engine::create(test::fixed_keep(options));
    done = allocations_left >= 0;  // fewer than n allocations: none failed
    allocations_left = -1;
    if (engine.ok()) continue;
    ++failures;
    EXPECT_EQ(engine.status().code(), StatusCode::kOutOfMemory) << n;
    EXPECT_FALSE(engine.status().message().empty());
  }
  EXPECT_GT(failures, 0);
}

/// Lets one allocation after the other fail.
void expect_out_of_memory_everywhere(test::Problem& p, const EngineOptions& options) {
  Engine reference = test::make_mass_engine(options);
  test::attend(reference, p);
  const std::vector<uint32_t> expected = test::bits(p);
  bool done = false;
  int64_t failures = 0;
  for (int64_t n = 0; !done; ++n) {
    ASSERT_LT(n, 1000);
    Engine engine = test::make_mass_engine(options);
    allocations_left = n;
    const Status status = engine.attend(p.call);
    done = allocations_left >= 0;
    allocations_left = -1;
    if (!status.ok()) {
      ++failures;
      EXPECT_EQ(status.code(), StatusCode::kOutOfMemory) << n;
      EXPECT_FALSE(status.message().empty());
    }
    test::attend(engine, p);  // the engine is as good as new
    EXPECT_EQ(test::bits(p), expected) << n;
  }
  EXPECT_GT(failures, 3);
}

TEST_F(OutOfMemoryTest, EveryAllocationOfACallMayFail) {
  test::Problem masked({4, 2, 20, 200, 64, 64, ElementType::kF16});
  test::set_interleaved(masked);
  test::Problem plain({4, 2, 20, 200, 64, 64, ElementType::kF16});
  plain.set_causal(180);
  test::Problem in_parts({4, 2, 1, 2500, 16, 16, ElementType::kF16});
  for (const Precision precision : {Precision::kFast, Precision::kF32}) {
    for (const Mode mode : {Mode::kDense, Mode::kShadow}) {
      for (test::Problem* p : {&masked, &plain, &in_parts}) {
        expect_out_of_memory_everywhere(*p, test::fixed_keep({.mode = mode,
                                                              .keep = 0.2,
                                                              .keep_floor = 0,
                                                              .precision = precision,
                                                              .threads = 2}));
      }
    }
  }
}

// Samples are left out when there is no memory for them; the output is there.
TEST_F(OutOfMemoryTest, EveryAllocationOfACallThatEndsByMassMayFail) {
  test::Problem p({4, 2, 20, 200, 64, 64, ElementType::kF16});
  p.set_causal(180);
  p.call.scale *= 4.0F;
  EngineOptions options = {.attn_error = 0.05, .keep_floor = 0, .threads = 2};
  options.sample_every = 4;
  expect_out_of_memory_everywhere(p, options);
}

TEST_F(OutOfMemoryTest, EveryAllocationOfACallWithADeviceMayFail) {
  // The device's thread allocates, too: it may refuse a graph or not be started. Then the CPU does
  // its part.
  test::Problem p({4, 2, 20, 200, 64, 64, ElementType::kF16});
  p.set_causal(180);
  EngineOptions options = {.keep = 0.2, .keep_floor = 0, .sink = 2, .recent = 4, .threads = 2};
  Engine on_cpu = test::make_engine(options);
  test::attend(on_cpu, p);
  const std::vector<uint32_t> cpu = test::bits(p);
  options.device.name = "npu-sim";
  options.device.fuse_heads = 1;
  Engine on_device = test::make_engine(options);
  test::attend(on_device, p);
  const std::vector<uint32_t> device = test::bits(p);
  EXPECT_NE(cpu, device);
  bool done = false;
  for (int64_t n = 0; !done; ++n) {
    ASSERT_LT(n, 1000);
    Engine engine = test::make_engine(options);
    allocations_left = n;
    const Status status = engine.attend(p.call);
    done = allocations_left >= 0;
    allocations_left = -1;
    EXPECT_TRUE(status.ok() || status.code() == StatusCode::kOutOfMemory) << n;
    const CallReport report = test::attend(engine, p);
    EXPECT_EQ(report.device.rows + report.device.cpu_rows, 2 * 20) << n;
    if (report.device.cpu_rows == 0) {
      EXPECT_EQ(test::bits(p), device) << n;
    } else if (report.device.rows == 0) {
      EXPECT_EQ(test::bits(p), cpu) << n;
    }
  }
}

TEST_F(OutOfMemoryTest, ASecondCallOfTheSameSizeAllocatesLittle) {
  // Scratch memory stays: what remains does not grow with the number of keys.
  const auto allocations = [](Mode mode, Precision precision, int64_t rows, int64_t keys) {
    test::Problem p({2, 1, rows, keys, 64, 64, ElementType::kF16});
    Engine engine =
        test::make_engine({.mode = mode, .keep = 0.2, .keep_floor = 0, .precision = precision});
    test::attend(engine, p);
    allocations_left = int64_t{1} << 40;
    EXPECT_TRUE(engine.attend(p.call).ok());
    const int64_t count = (int64_t{1} << 40) - allocations_left;
    allocations_left = -1;
    return count;
  };
  for (const Precision precision : {Precision::kFast, Precision::kF32}) {
    for (const Mode mode : {Mode::kDense, Mode::kShadow}) {
      for (const int64_t rows : {1, 8}) {
        EXPECT_EQ(allocations(mode, precision, rows, 200),
                  allocations(mode, precision, rows, 1900));
        // Dense calls of more keys are cut into parts.
        EXPECT_EQ(allocations(mode, precision, rows, 2500),
                  allocations(mode, precision, rows, 9000));
      }
    }
  }
}

/// From opening a device to a launch that is done; allocates nothing itself.
Status use_device(const DeviceOptions& options, std::span<const LaunchHead> heads) {
  const auto net = Device::Clock::now() + std::chrono::minutes(5);
  auto device = open_device(options);
  if (!device.ok()) return device.status();
  Device& d = *device.value();
  if (Status s = d.reserve(1 << 14); !s.ok()) return s;
  std::fill_n(d.memory(), 1 << 14, std::byte{1});
  const auto compiled = d.compile(1, {2, 16, 64, 32, {.mantissa = 140, .shift = 5}});
  if (!compiled.ok()) return compiled.status();
  const auto launched = d.submit({1, heads});
  if (!launched.ok()) return launched.status();
  if (Status s = d.wait(launched.value(), 1, net, nullptr); !s.ok()) return s;
  return d.release(1);
}

TEST_F(OutOfMemoryTest, EveryAllocationOfADeviceMayFail) {
  const LaunchHead heads[] = {{0, 1024, 8192}, {0, 1024, 9216}};
  for (const char* name : {"cpu", "npu-sim"}) {
    const DeviceOptions options = {.name = name};
    bool done = false;
    int64_t failures = 0;
    for (int64_t n = 0; !done; ++n) {
      ASSERT_LT(n, 1000);
      allocations_left = n;
      const Status status = use_device(options, heads);
      done = allocations_left >= 0;
      allocations_left = -1;
      EXPECT_EQ(status.ok(), done) << name << " " << n << " " << status.message();
      if (status.ok()) continue;
      ++failures;
      EXPECT_EQ(status.code(), StatusCode::kOutOfMemory) << name << " " << n;
      EXPECT_FALSE(status.message().empty());
    }
    EXPECT_GT(failures, 5) << name;
  }
}

TEST_F(OutOfMemoryTest, SizesBeyondAnyMemory) {
  // Views of one row, repeated by strides of zero: valid, but scratch memory cannot be had.
  std::vector<float> row(256, 0.5F);
  std::vector<float> out(256);
  constexpr int64_t kHeads = 65536;
  constexpr int64_t kRows = (int64_t{1} << 30) - 1;
  AttentionCall call;
  call.query = {row.data(), ElementType::kF32, kHeads, 1, 256, 0, 0};
  call.key = {row.data(), ElementType::kF32, kHeads, kRows, 256, 0, 0};
  call.value = call.key;
  call.output = {out.data(), kHeads, 1, 256, 0, 0};
  Engine engine = test::make_engine({.keep = 0.2});
  Status status = engine.attend(call);
  EXPECT_EQ(status.code(), StatusCode::kOutOfMemory) << status.message();

  // A mask per head: what is known of 2^46 rows.
  call.query.rows = call.output.rows = kRows;
  call.key.rows = call.value.rows = 1;
  call.mask.kind = MaskKind::kAdditive;
  call.mask.additive = {row.data(), ElementType::kF32, kHeads, kRows, 1, 0, 0};
  status = engine.attend(call);
  EXPECT_EQ(status.code(), StatusCode::kOutOfMemory) << status.message();
}

#else

TEST_F(OutOfMemoryTest, NotUnderSanitizers) {}

#endif

}  // namespace
}  // namespace shadowattn
