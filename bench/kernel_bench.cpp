// Every kernel of every family on one tile of the Qwen2-0.5B shape: 56 rows (8 query rows × 7
// heads), 8192 keys, head dim 64. items/s counts (row, key) pairs, so cycles per pair = clock /
// items.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/attend/attend.h"
#include "kernels/attend16/attend16.h"
#include "kernels/half.h"
#include "kernels/pilot_dot/pilot_dot.h"
#include "kernels/quantize/quantize.h"
#include "kernels/score_rank/score_rank.h"
#include "kernels/select/select.h"

namespace shadowattn {
namespace {

constexpr int64_t kRows = 56;
constexpr int64_t kKeys = 8192;
constexpr int64_t kDeviceKeys = 8704;  // of a device's graph: no power of two as row stride
constexpr int64_t kDim = 64;
constexpr int64_t kKeep = kKeys / 5;

std::vector<float> random_floats(int64_t count) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(generator);
  return values;
}

std::vector<uint16_t> random_halves(int64_t count) {
  std::vector<uint16_t> halves;
  for (const float v : random_floats(count)) halves.push_back(float_to_half(v));
  return halves;
}

std::vector<int8_t> random_bytes(int64_t count) {
  std::mt19937 generator(2);
  std::uniform_int_distribution<int> uniform(-127, 127);
  std::vector<int8_t> values(static_cast<size_t>(count));
  for (int8_t& v : values) v = static_cast<int8_t>(uniform(generator));
  return values;
}

std::vector<int16_t> random_scores(int64_t count) {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal(0.0F, 3000.0F);
  std::vector<int16_t> values(static_cast<size_t>(count));
  for (int16_t& v : values) v = static_cast<int16_t>(normal(generator));
  return values;
}

void count_pairs(benchmark::State& state, int64_t pairs) {
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * pairs);
}

std::vector<char> random_q8_0(int64_t elements) {
  const auto halves = random_halves(elements / kQ8BlockElements);
  const auto bytes = random_bytes(elements);
  std::vector<char> blocks(static_cast<size_t>(elements / kQ8BlockElements * kQ8BlockBytes));
  for (size_t b = 0; b < halves.size(); ++b) {
    char* block = blocks.data() + b * kQ8BlockBytes;
    std::memcpy(block, &halves[b], sizeof(uint16_t));
    std::memcpy(block + sizeof(uint16_t), bytes.data() + b * kQ8BlockElements, kQ8BlockElements);
  }
  return blocks;
}

void bench_quantize_q8_0(benchmark::State& state, const QuantizeKernel& kernel) {
  const auto x = random_q8_0(kKeys * kDim);
  std::vector<int8_t> q(static_cast<size_t>(kKeys * kDim));
  std::vector<float> scale(static_cast<size_t>(kKeys));
  for (auto _ : state) {
    benchmark::DoNotOptimize(kernel.q8_0.rows(x.data(), kDim / kQ8BlockElements * kQ8BlockBytes,
                                              kKeys, kDim, q.data(), scale.data()));
  }
  count_pairs(state, kKeys);
}

void bench_quantize(benchmark::State& state, const QuantizeKernel& kernel) {
  const auto x = random_halves(kKeys * kDim);
  std::vector<int8_t> q(static_cast<size_t>(kKeys * kDim));
  std::vector<float> scale(static_cast<size_t>(kKeys));
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        kernel.f16.rows(x.data(), kDim * 2, kKeys, kDim, q.data(), scale.data()));
  }
  count_pairs(state, kKeys);
}

void bench_row_scales(benchmark::State& state, const QuantizeKernel& kernel) {
  const auto x = random_halves(kKeys * kDim);
  const auto mean = random_floats(kDim);
  std::vector<float> scale(static_cast<size_t>(kKeys));
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        kernel.f16.row_scales(x.data(), kDim * 2, kKeys, kDim, mean.data(), scale.data()));
  }
  count_pairs(state, kKeys);
}

void bench_quantize_fixed(benchmark::State& state, const QuantizeKernel& kernel) {
  const auto x = random_halves(kKeys * kDim);
  const auto mean = random_floats(kDim);
  std::vector<int8_t> q(static_cast<size_t>(kKeys * kDim));
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        kernel.f16.fixed(x.data(), kDim * 2, kKeys, kDim, mean.data(), 30.0F, q.data()));
  }
  count_pairs(state, kKeys);
}

void bench_add_rows(benchmark::State& state, const QuantizeKernel& kernel) {
  const auto x = random_halves(kKeys * kDim);
  std::vector<float> sum(static_cast<size_t>(kDim));
  for (auto _ : state) {
    kernel.f16.add_rows(x.data(), kDim * 2, kKeys, kDim, sum.data());
    benchmark::ClobberMemory();
  }
  count_pairs(state, kKeys);
}

/// What all functions of pilot_dot read.
struct PilotOperands {
  explicit PilotOperands(const PilotDotKernel& kernel)
      : queries(static_cast<size_t>(kRows * kernel.query_row_bytes(kDim))),
        keys(static_cast<size_t>(kKeys / kPilotKeyBlock * kernel.key_block_bytes(kDim))) {
    kernel.pack_queries(random_bytes(kRows * kDim).data(), kRows, kDim, queries.data());
    kernel.pack_keys(random_bytes(kKeys * kDim).data(), kKeys, kDim, keys.data());
  }

  template <typename Call>
  void set(Call& call) const {
    call.queries = queries.data();
    call.rows = kRows;
    call.keys = keys.data();
    call.key_blocks = kKeys / kPilotKeyBlock;
    call.dim = kDim;
  }

  std::vector<char> queries;
  std::vector<char> keys;
};

void bench_pilot_dot(benchmark::State& state, const PilotDotKernel& kernel) {
  const PilotOperands operands(kernel);
  const std::vector<float> factor(static_cast<size_t>(kKeys), 1.0F);
  const std::vector<float> row_factor(static_cast<size_t>(kRows), 0.01F);
  const int64_t stride = kKeys + kScorePadding;
  std::vector<int16_t> scores(static_cast<size_t>(kRows * stride));
  PilotTile tile;
  operands.set(tile);
  tile.key_factor = factor.data();
  tile.row_factor = row_factor.data();
  tile.scores = scores.data();
  tile.stride = stride;
  for (auto _ : state) {
    kernel.scores(tile);
    benchmark::ClobberMemory();
  }
  count_pairs(state, kRows * kKeys);
}

// As a device computes them: with a multiplier that clips few scores.
void bench_pilot_fixed(benchmark::State& state, const PilotDotKernel& kernel) {
  const PilotOperands operands(kernel);
  std::vector<int8_t> scores(static_cast<size_t>(kRows * kDeviceKeys));
  PilotFixed tile;
  operands.set(tile);
  tile.requantisation = requantisation_below(1e-3);
  tile.scores = scores.data();
  tile.stride = kDeviceKeys;
  for (auto _ : state) {
    kernel.fixed_scores(tile);
    benchmark::ClobberMemory();
  }
  count_pairs(state, kRows * kKeys);
}

void bench_score_rank_of(benchmark::State& state, const ScoreRankKernel& kernel, bool in_range) {
  const auto scores = random_bytes(kRows * kDeviceKeys);
  const std::vector<float> slope(static_cast<size_t>(kRows), 0.1F * 0x1p23F);
  const std::vector<float> offset(static_cast<size_t>(kRows), 115.0F * 0x1p23F);
  std::vector<int16_t> rank(static_cast<size_t>(kDeviceKeys));
  ScoreRank list;
  list.scores = scores.data();
  list.stride = kDeviceKeys;
  list.rows = kRows;
  list.keys = kDeviceKeys;
  list.slope = slope.data();
  list.offset = offset.data();
  list.rank = rank.data();
  list.in_range = in_range;
  for (auto _ : state) {
    kernel.ranks(list);
    benchmark::ClobberMemory();
  }
  count_pairs(state, kRows * kDeviceKeys);
}

void bench_score_rank(benchmark::State& state, const ScoreRankKernel& kernel) {
  bench_score_rank_of(state, kernel, false);
}

void bench_score_rank_in_range(benchmark::State& state, const ScoreRankKernel& kernel) {
  bench_score_rank_of(state, kernel, true);
}

void bench_score_widen(benchmark::State& state, const ScoreRankKernel& kernel) {
  const auto scores = random_bytes(kKeys);
  std::vector<int16_t> out(scores.size());
  for (auto _ : state) {
    kernel.widen(scores.data(), kKeys, out.data());
    benchmark::ClobberMemory();
  }
  count_pairs(state, kKeys);
}

void bench_pilot_ranks(benchmark::State& state, const PilotDotKernel& kernel) {
  const PilotOperands operands(kernel);
  const std::vector<float> factor(static_cast<size_t>(kKeys), 1.0F);
  const std::vector<float> slope(static_cast<size_t>(kRows), 1e-5F * 0x1p23F);
  const std::vector<float> offset(static_cast<size_t>(kRows), 115.0F * 0x1p23F);
  std::vector<int16_t> rank(static_cast<size_t>(kKeys));
  PilotRank list;
  operands.set(list);
  list.key_factor = factor.data();
  list.slope = slope.data();
  list.offset = offset.data();
  list.rank = rank.data();
  for (auto _ : state) {
    kernel.ranks(list);
    benchmark::ClobberMemory();
  }
  count_pairs(state, kRows * kKeys);
}

void bench_merge(benchmark::State& state, const SelectKernel& kernel) {
  const auto scores = random_scores(kKeys);
  std::vector<int16_t> importance(scores.size(), kHiddenScore);
  for (auto _ : state) {
    kernel.merge(scores.data(), kernel.row_max(scores.data(), kKeys), kKeys, importance.data());
    benchmark::ClobberMemory();
  }
  count_pairs(state, kKeys);
}

void bench_top_k(benchmark::State& state, const SelectKernel& kernel) {
  const auto scores = random_scores(kKeys);
  std::vector<int32_t> out(static_cast<size_t>(kKeep));
  for (auto _ : state) {
    benchmark::DoNotOptimize(kernel.top_k(scores.data(), kKeys, kKeep, out.data()));
  }
  count_pairs(state, kKeys);
}

void bench_tile_block(benchmark::State& state, const AttendKernel& kernel) {
  const int64_t rows =
      (kRows + kernel.row_multiple - 1) / kernel.row_multiple * kernel.row_multiple;
  const auto query = random_floats(kDim * rows);
  const auto key = random_halves(kAttendBlock * kDim);
  std::vector<float> gathered(static_cast<size_t>(kAttendBlock * kDim));
  std::vector<float> logits(static_cast<size_t>(kAttendBlock * rows));
  std::vector<float> max(static_cast<size_t>(rows), -INFINITY);
  std::vector<float> sum(static_cast<size_t>(rows));
  std::vector<float> out(static_cast<size_t>(rows * kDim));
  AttendBlock block;
  block.query = query.data();
  block.key = gathered.data();
  block.value = gathered.data();
  block.rows = rows;
  block.keys = kAttendBlock;
  block.dim = kDim;
  block.value_dim = kDim;
  block.logits = logits.data();
  block.max = max.data();
  block.sum = sum.data();
  block.out = out.data();
  for (auto _ : state) {
    kernel.gather({key.data(), ElementType::kF16, kDim * 2}, nullptr, 0, kAttendBlock, kDim,
                  gathered.data());
    kernel.tile_block(block);
    benchmark::ClobberMemory();
  }
  count_pairs(state, kRows * kAttendBlock);
}

void bench_row_list_of(benchmark::State& state, const AttendKernel& kernel,
                       const RowSource& source) {
  const auto query = random_floats(kDim);
  std::vector<int32_t> index;
  for (int32_t j = 0; j < kAttendBlock; ++j) index.push_back(j);
  float max = -INFINITY;
  float sum = 0.0F;
  std::vector<float> out(static_cast<size_t>(kDim));
  AttendRow row;
  row.query = query.data();
  row.key = source;
  row.value = source;
  row.index = index.data();
  row.keys = kAttendBlock;
  row.dim = kDim;
  row.value_dim = kDim;
  row.max = &max;
  row.sum = &sum;
  row.out = out.data();
  for (auto _ : state) {
    kernel.row_list(row);
    benchmark::ClobberMemory();
  }
  count_pairs(state, kAttendBlock);
}

void bench_row_list(benchmark::State& state, const AttendKernel& kernel) {
  const auto key = random_halves(kAttendBlock * kDim);
  bench_row_list_of(state, kernel, {key.data(), ElementType::kF16, kDim * 2});
}

void bench_row_list_q8_0(benchmark::State& state, const AttendKernel& kernel) {
  const auto key = random_q8_0(kAttendBlock * kDim);
  bench_row_list_of(state, kernel,
                    {key.data(), ElementType::kQ8_0, kDim / kQ8BlockElements * kQ8BlockBytes});
}

// Per key: what a tile of few rows pays for its operands.
void bench_pack16_of(benchmark::State& state, const Attend16Kernel& kernel,
                     const RowSource& source) {
  std::vector<int32_t> key(static_cast<size_t>(kAttendBlock * kDim / 2));
  std::vector<int32_t> value(key.size());
  std::vector<float> step(static_cast<size_t>(kAttendBlock));
  for (auto _ : state) {
    kernel.pack_keys(source, nullptr, 0, kAttendBlock, kDim, key.data(), step.data());
    kernel.pack_values(source, nullptr, 0, kAttendBlock, kDim, value.data());
    benchmark::ClobberMemory();
  }
  count_pairs(state, kAttendBlock);
}

void bench_pack16(benchmark::State& state, const Attend16Kernel& kernel) {
  const auto key = random_halves(kAttendBlock * kDim);
  bench_pack16_of(state, kernel, {key.data(), ElementType::kF16, kDim * 2});
}

void bench_pack16_q8_0(benchmark::State& state, const Attend16Kernel& kernel) {
  const auto key = random_q8_0(kAttendBlock * kDim);
  bench_pack16_of(state, kernel,
                  {key.data(), ElementType::kQ8_0, kDim / kQ8BlockElements * kQ8BlockBytes});
}

template <typename Kernel>
void add(const char* what, const std::vector<Kernel>& kernels,
         void (*run)(benchmark::State&, const Kernel&)) {
  const CpuFeatures here = detect_cpu_features();
  for (const Kernel& kernel : kernels) {
    if (!here.covers(kernel.needs)) continue;
    benchmark::RegisterBenchmark((std::string(what) + "/" + std::string(kernel.name)).c_str(),
                                 [&kernel, run](benchmark::State& state) { run(state, kernel); });
  }
}

const bool registered = [] {
  add("quantize", quantize_kernels(), bench_quantize);
  add("quantize_q8_0", quantize_kernels(), bench_quantize_q8_0);
  add("quantize_row_scales", quantize_kernels(), bench_row_scales);
  add("quantize_fixed", quantize_kernels(), bench_quantize_fixed);
  add("quantize_add_rows", quantize_kernels(), bench_add_rows);
  add("pilot_dot", pilot_dot_kernels(), bench_pilot_dot);
  add("pilot_fixed", pilot_dot_kernels(), bench_pilot_fixed);
  add("pilot_ranks", pilot_dot_kernels(), bench_pilot_ranks);
  add("score_rank", score_rank_kernels(), bench_score_rank);
  add("score_rank_in_range", score_rank_kernels(), bench_score_rank_in_range);
  add("score_widen", score_rank_kernels(), bench_score_widen);
  add("select_merge", select_kernels(), bench_merge);
  add("select_top_k", select_kernels(), bench_top_k);
  add("attend_tile_block", attend_kernels(), bench_tile_block);
  add("attend_row_list", attend_kernels(), bench_row_list);
  add("attend_row_list_q8_0", attend_kernels(), bench_row_list_q8_0);
  add("attend16_pack", attend16_kernels(), bench_pack16);
  add("attend16_pack_q8_0", attend16_kernels(), bench_pack16_q8_0);
  return true;
}();

}  // namespace
}  // namespace shadowattn
