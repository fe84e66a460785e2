// Drives the attend16 kernels over an AttendProblem, as src/attend does.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "attend_problem.h"
#include "kernels/attend16/attend16.h"

namespace shadowattn::test {

/// Round to nearest, ties to even; subnormal numbers become zero.
inline uint16_t reference_bf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7F800000U) == 0) return static_cast<uint16_t>((bits & 0x80000000U) >> 16);
  return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

/// How the keys of a problem are handed to a kernel.
struct Feed {
  int64_t step = kAttendBlock;     ///< keys per block
  std::vector<int32_t> index;      ///< rows of K and V to gather; empty: all of them in order
  std::vector<int32_t> row_begin;  ///< [rows] positions, as is row_end; empty: rows see all
  std::vector<int32_t> row_end;
  bool with_bias = true;  ///< false: the mask is told by row_begin and row_end alone
  size_t misaligned = 0;  ///< elements by which every buffer misses its alignment
};

/// What the kernel leaves behind, and what becomes of it.
struct State16 {
  bool packed = true;      ///< false: an operand was refused, the rest is nothing
  std::vector<float> max;  ///< [rows]
  std::vector<float> sum;  ///< [rows] over all lanes
  Output out;              ///< [rows][value_dim] normalised
};

/// A buffer of exactly `count` elements behind `offset` others, so that the sanitizer sees a step
/// too far; what is not written shows as junk.
template <typename T>
class Misaligned {
 public:
  Misaligned(int64_t count, size_t offset, T junk)
      : memory_(static_cast<size_t>(count) + offset, junk), offset_(offset) {}
  T* data() { return memory_.data() + offset_; }

 private:
  std::vector<T> memory_;
  size_t offset_;
};

/// A bit per key of a block and row.
inline void fill_visible(const Feed& feed, int64_t first, int64_t keys,
                         std::vector<uint64_t>& visible) {
  for (size_t r = 0; r < feed.row_begin.size(); ++r) {
    visible[r] = 0;
    for (int64_t j = 0; j < keys; ++j) {
      const bool seen = first + j >= feed.row_begin[r] && first + j < feed.row_end[r];
      visible[r] |= uint64_t{seen} << j;
    }
  }
}

/// The row's share of a block of biases, in log2 units; junk beyond the keys.
inline void fill_bias(const AttendProblem& p, const Feed& feed, int64_t first, int64_t keys,
                      float* bias) {
  for (int64_t r = 0; r < p.call.query.rows; ++r) {
    for (int64_t j = 0; j < keys; ++j) {
      const auto i = static_cast<size_t>(first + j);
      const int64_t key = feed.index.empty() ? first + j : feed.index[i];
      bias[r * kAttendBlock + j] = p.bias(r, key) * 1.44269504F;
    }
  }
}

inline State16 run16(const Attend16Kernel& kernel, const AttendProblem& p, const Feed& feed = {}) {
  const AttentionCall& call = p.call;
  const int64_t rows = call.query.rows;
  const int64_t dim = call.key.dim;
  const int64_t value_dim = call.value.dim;
  const size_t off = feed.misaligned;
  const float junk = std::numeric_limits<float>::quiet_NaN();
  Misaligned<int16_t> query(rows * dim, off, 12345);
  Misaligned<float> query_step(rows, off, junk);
  Misaligned<int32_t> key(dim / 2 * kAttendBlock, off, 0x7FFF7FFF);
  Misaligned<float> key_step(kAttendBlock, off, junk);
  Misaligned<int32_t> value(kAttendBlock / 2 * value_dim, off, 0x7FC07FC0);
  Misaligned<float> bias(rows * kAttendBlock, off, junk);
  Misaligned<uint16_t> weights(kAttend16Weights, off, 0x7FC0);
  Misaligned<float> max(rows, off, -std::numeric_limits<float>::infinity());
  Misaligned<float> sum(rows * kAttend16Lanes, off, 0.0F);
  Misaligned<float> out(rows * value_dim, off, 0.0F);
  State16 state;
  std::vector<float> q(static_cast<size_t>(dim));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t d = 0; d < dim; ++d) {
      q[static_cast<size_t>(d)] = element(call.query, AttendProblem::kHead, r, d);
    }
    state.packed = kernel.pack_query(q.data(), dim, call.scale * 1.44269504F,
                                     query.data() + r * dim, query_step.data() + r) &&
                   state.packed;
  }
  Attend16Block block;
  block.query = query.data();
  block.query_step = query_step.data();
  block.key = key.data();
  block.key_step = key_step.data();
  block.value = value.data();
  block.rows = rows;
  block.dim = dim;
  block.value_dim = value_dim;
  std::vector<uint64_t> visible(static_cast<size_t>(rows));
  if (!feed.row_begin.empty()) block.visible = visible.data();
  block.logit_softcap = call.logit_softcap * 1.44269504F;
  block.max = max.data();
  block.sum = sum.data();
  block.out = out.data();
  block.weights = weights.data();
  if (call.mask.kind != MaskKind::kNone && feed.with_bias) block.bias = bias.data();
  const int64_t count = feed.index.empty() ? call.key.rows : std::ssize(feed.index);
  for (int64_t first = 0; first < count; first += feed.step) {
    block.keys = std::min(feed.step, count - first);
    fill_visible(feed, first, block.keys, visible);
    const int32_t* index = feed.index.empty() ? nullptr : feed.index.data() + first;
    state.packed = kernel.pack_keys(p.source(call.key), index, first, block.keys, dim, key.data(),
                                    key_step.data()) &&
                   state.packed;
    if (!state.packed) return state;
    kernel.pack_values(p.source(call.value), index, first, block.keys, value_dim, value.data());
    fill_bias(p, feed, first, block.keys, bias.data());
    kernel.block(block);
  }
  for (int64_t r = 0; r < rows; ++r) {
    float total = 0.0F;
    for (int64_t lane = 0; lane < kAttend16Lanes; ++lane) {
      total += sum.data()[r * kAttend16Lanes + lane];
    }
    state.max.push_back(max.data()[r]);
    state.sum.push_back(total);
    const float inverse = total == 0.0F ? 0.0F : 1.0F / total;
    for (int64_t d = 0; d < value_dim; ++d) {
      state.out.push_back(out.data()[r * value_dim + d] * inverse);
    }
  }
  return state;
}

/// Within the tolerance of 16-bit operands; rows that see nothing are as they were.
inline void expect_reference16(const AttendProblem& p, const State16& got, const Feed& feed = {}) {
  ASSERT_TRUE(got.packed);
  ReferenceRow::Filter keep;
  if (!feed.index.empty()) {
    keep = [&](int64_t j) { return std::ranges::count(feed.index, j) != 0; };
  }
  expect_reference(p, got.out, {.precision = Precision::kFast, .block = feed.step}, keep);
  for (int64_t r = 0; r < p.call.query.rows; ++r) {
    const bool blind = ReferenceRow(p.call, AttendProblem::kHead, r, keep).keys() == 0;
    const auto i = static_cast<size_t>(r);
    ASSERT_EQ(got.max[i] == -std::numeric_limits<float>::infinity() && got.sum[i] == 0.0F, blind)
        << "row " << r;
  }
}

/// The mask of a problem whose rows see [begin, end), and the ranges for `feed`.
inline void set_ranges(AttendProblem& p, Feed& feed, const std::vector<int32_t>& begin,
                       const std::vector<int32_t>& end) {
  feed.row_begin = begin;
  feed.row_end = end;
  p.mask.for_each([&](int64_t, int64_t row, int64_t j) {
    const auto r = static_cast<size_t>(row);
    return j >= begin[r] && j < end[r] ? 0.0 : -kInfinity;
  });
  p.call.mask.kind = MaskKind::kAdditive;
  p.call.mask.additive = p.mask.view();
}

}  // namespace shadowattn::test
