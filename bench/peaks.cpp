#include "peaks.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include "peaks/peak_kernels.h"
#include "shadowattn/cpu.h"

namespace shadowattn::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRepetitions = 5;
constexpr double kSecondsPerRun = 0.03;
constexpr size_t kReadBytes = size_t{256} << 20;  // far beyond a core's share of any cache
constexpr int64_t kClockSteps = 4'000'000;
constexpr int kChainLength = 16;

double seconds_of(const std::function<void()>& work) {
  const Clock::time_point start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double fastest(const std::function<void()>& work) {
  double best = seconds_of(work);
  for (int i = 1; i < kRepetitions; ++i) best = std::min(best, seconds_of(work));
  return best;
}

void on_all_threads(Executor& executor, const std::function<void(int64_t part)>& work) {
  executor.run(executor.threads(), [&](int64_t part, int /*thread*/) { work(part); });
}

double measure_loop(const PeakLoop& loop, Executor& executor) {
  int64_t steps = 1000;
  while (seconds_of([&] { loop.run(steps); }) < kSecondsPerRun) steps *= 2;
  const double seconds =
      fastest([&] { on_all_threads(executor, [&](int64_t /*part*/) { loop.run(steps); }); });
  return static_cast<double>(steps) * static_cast<double>(loop.ops_per_step) * executor.threads() /
         seconds;
}

double measure_reading(Executor& executor) {
  const std::vector<uint64_t> memory(kReadBytes / sizeof(uint64_t), 1);
  const size_t part_size = memory.size() / static_cast<size_t>(executor.threads());
  std::vector<uint64_t> sums(static_cast<size_t>(executor.threads()));
  const double seconds = fastest([&] {
    on_all_threads(executor, [&](int64_t part) {
      const uint64_t* data = memory.data() + static_cast<size_t>(part) * part_size;
      uint64_t sum = 0;
      for (size_t i = 0; i < part_size; ++i) sum += data[i];
      sums[static_cast<size_t>(part)] = sum;
      asm volatile("" : : "r"(sums.data()) : "memory");
    });
  });
  return static_cast<double>(part_size * sizeof(uint64_t)) * executor.threads() / seconds;
}

// A chain of operations of one cycle each, none of which a core can skip.
double measure_clock() {
  const double seconds = fastest([] {
    uint64_t x = 1;
    uint64_t y = 3;
    for (int64_t i = 0; i < kClockSteps; ++i) {
#pragma GCC unroll 16
      for (int j = 0; j < kChainLength; ++j) {
        asm volatile("" : "+r"(x), "+r"(y));
        x ^= y;
      }
    }
    asm volatile("" : : "r"(x));
  });
  return static_cast<double>(kClockSteps) * kChainLength / seconds;
}

}  // namespace

std::vector<PeakLoop> peak_loops() {
  std::vector<PeakLoop> loops;
  const auto add = [&](bool here, PeakKind kind, std::string_view isa, int64_t products,
                       void (*run)(int64_t), int chains = kPeakChains) {
    if (here) loops.push_back({kind, isa, 2 * products * chains, run});
  };
  add(true, PeakKind::kF32, "baseline", 4, peak_f32_generic);
#if defined(__x86_64__)
  const CpuFeatures here = detect_cpu_features();
  const bool avx2 = here.covers(kAvx2Level);
  const bool avx512 = here.covers(kAvx512Level);
  const bool vnni = here.covers(kAvx512VnniLevel);
  const bool bf16 = here.covers(kAvx512Bf16Level);
  add(avx2, PeakKind::kF32, "avx2", 8, peak_f32_avx2);
  add(avx512, PeakKind::kF32, "avx512", 16, peak_f32_avx512, kPeakChains512);
  add(avx2, PeakKind::kInt8, "avx2", 32, peak_int8_avx2);
  add(vnni, PeakKind::kInt8, "avx512vnni", 64, peak_int8_avx512vnni);
  add(avx2, PeakKind::kInt16, "avx2", 16, peak_int16_avx2);
  add(vnni, PeakKind::kInt16, "avx512vnni", 32, peak_int16_avx512vnni);
  add(bf16, PeakKind::kBf16, "avx512bf16", 32, peak_bf16_avx512bf16, kPeakChains512);
#elif defined(__aarch64__)
  const CpuFeatures here = detect_cpu_features();
  const bool i8mm = here.covers(kI8mmLevel);
  const bool bf16 = here.covers(kArmBf16Level);
  add(true, PeakKind::kF32, "neon", 4, peak_f32_neon, kPeakChainsNeon);
  add(here.covers(kDotProdLevel), PeakKind::kInt8, "dotprod", 16, peak_int8_dotprod,
      kPeakChainsNeon);
  add(i8mm, PeakKind::kInt8, "i8mm", 32, peak_int8_i8mm, kPeakChainsNeon);
  add(true, PeakKind::kInt16, "neon", 4, peak_int16_neon, kPeakChainsNeon);
  add(bf16, PeakKind::kBf16, "bf16", 16, peak_bf16_bf16, kPeakChainsNeon);
#endif
  return loops;
}

std::string_view peak_name(PeakKind kind) {
  switch (kind) {
    case PeakKind::kF32:
      return "f32 FMA";
    case PeakKind::kInt8:
      return "INT8 dot";
    case PeakKind::kInt16:
      return "INT16 dot";
    case PeakKind::kBf16:
      return "BF16 dot";
  }
  return "?";
}

double MachinePeaks::best(PeakKind kind) const {
  double best = 0;
  for (const Peak& peak : arithmetic) {
    if (peak.kind == kind) best = std::max(best, peak.ops_per_second);
  }
  return best;
}

MachinePeaks measure_peaks(Executor& executor) {
  MachinePeaks peaks;
  peaks.threads = executor.threads();
  for (const PeakLoop& loop : peak_loops()) {
    peaks.arithmetic.push_back({loop.kind, loop.isa, measure_loop(loop, executor)});
  }
  peaks.read_bytes_per_second = measure_reading(executor);
  peaks.clock_hz = measure_clock();
  return peaks;
}

}  // namespace shadowattn::bench
