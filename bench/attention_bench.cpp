// One whole attention call of the Qwen2-0.5B shape (14 query heads, 2 KV heads, head dim 64, 512
// rows) by granularity of the token lists. Queries and keys are random: the work is what a real
// model costs for the same number of kept tokens, but nothing here says how good the lists are.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/half.h"
#include "shadowattn/engine.h"

namespace shadowattn {
namespace {

constexpr int64_t kHeads = 14;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kDim = 64;
constexpr int64_t kRows = 512;

struct Operands {
  explicit Operands(int64_t keys)
      : query(static_cast<size_t>(kRows * kHeads * kDim)),
        output(query.size()),
        key(static_cast<size_t>(keys * kKvHeads * kDim)),
        value(key.size()) {
    std::mt19937 generator(1);
    std::normal_distribution<float> normal;
    for (float& x : query) x = normal(generator);
    for (uint16_t& x : key) x = float_to_half(normal(generator));
    for (uint16_t& x : value) x = float_to_half(normal(generator));
    call.query = {query.data(), ElementType::kF32, kHeads,           kRows,
                  kDim,         kDim * 4,          kHeads * kDim * 4};
    call.key = {key.data(), ElementType::kF16, kKvHeads, keys, kDim, kDim * 2, kKvHeads * kDim * 2};
    call.value = call.key;
    call.value.data = value.data();
    call.output = {output.data(), kHeads, kRows, kDim, kDim * 4, kHeads * kDim * 4};
    call.mask.kind = MaskKind::kCausal;
    call.mask.causal_offset = keys - kRows;
    call.scale = 0.125F;
  }

  std::vector<float> query, output;
  std::vector<uint16_t> key, value;
  AttentionCall call;
};

void bench_call(benchmark::State& state, const EngineOptions& options, int64_t keys) {
  Operands operands(keys);
  Result<Engine> engine = Engine::create(options);
  if (!engine.ok()) {
    state.SkipWithError(engine.status().message().c_str());
    return;
  }
  CallReport report;
  double pilot = 0, select = 0, attend = 0, pairs = 0;
  for (auto _ : state) {
    const Status status = engine.value().attend(operands.call, &report);
    if (!status.ok()) {
      state.SkipWithError(status.message().c_str());
      return;
    }
    pilot += static_cast<double>(report.pilot_ns);
    select += static_cast<double>(report.select_ns);
    attend += static_cast<double>(report.attend_ns);
    pairs += static_cast<double>(report.visible_pairs);
  }
  state.SetItemsProcessed(static_cast<int64_t>(pairs));
  state.counters["pilot_ns/pair"] = pilot / pairs;
  state.counters["select_ns/pair"] = select / pairs;
  state.counters["attend_ns/pair"] = attend / pairs;
}

void add(const std::string& name, const EngineOptions& options, int64_t keys) {
  benchmark::RegisterBenchmark(
      (name + "/keys:" + std::to_string(keys)).c_str(),
      [options, keys](benchmark::State& state) { bench_call(state, options, keys); })
      ->Unit(benchmark::kMillisecond);
}

const bool registered = [] {
  for (const int64_t keys : {2048, 8192}) {
    EngineOptions dense;
    dense.mode = Mode::kDense;
    add("call/dense", dense, keys);
    for (const double keep : {0.2, 0.1}) {
      for (const int32_t rows : {1, 4, 8}) {
        for (const bool shared : {false, true}) {
          EngineOptions shadow;
          shadow.keep = keep;
          shadow.rows_per_list = rows;
          shadow.share_heads = shared;
          add("call/shadow/keep:" + std::to_string(keep).substr(0, 3) +
                  "/rows:" + std::to_string(rows) + (shared ? "/heads:shared" : "/heads:own"),
              shadow, keys);
        }
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace shadowattn
