// TileEstimate's second half: one rank per key for all rows of a list.
#include <algorithm>
#include <cmath>

#include "pilot/pilot.h"
#include "pilot/row_level.h"

namespace shadowattn {
namespace {

constexpr int64_t kPair = 2;         // blocks that are sampled together: what the kernel likes
constexpr int64_t kFirstBlocks = 2;  // sinks
constexpr int64_t kLastBlocks = 8;   // the recent tokens, and the rows' own
constexpr double kLog2E = 1.4426950408889634;

}  // namespace

/// The first kFirstBlocks and the last kLastBlocks of the list's blocks whole, then pairs of those
/// between them. In the buffer they follow each other in this order.
struct TileEstimate::Sample {
  int64_t first_block = 0;
  int64_t blocks = 0;

  bool whole() const { return blocks <= kWholeBlocks; }
  int64_t end_blocks() const { return whole() ? blocks : kFirstBlocks + kLastBlocks; }
  int64_t middle_blocks() const { return blocks - end_blocks(); }
  int64_t pairs() const {
    constexpr int64_t kStep = kPair * kSampleStride;
    return whole() ? 0 : (middle_blocks() - kPair + kStep) / kStep;
  }
  int64_t end_keys() const { return end_blocks() * kPilotKeyBlock; }
  int64_t middle_keys() const { return pairs() * kPair * kPilotKeyBlock; }
  /// How many keys of the middle one sampled key stands for.
  double weight() const {
    return pairs() == 0
               ? 0.0
               : static_cast<double>(middle_blocks()) / static_cast<double>(pairs() * kPair);
  }

  /// step(first block, blocks, position in the buffer in keys) for every run.
  template <typename Step>
  void for_each_run(const Step& step) const {
    if (whole()) {
      step(first_block, blocks, int64_t{0});
      return;
    }
    step(first_block, kFirstBlocks, int64_t{0});
    step(first_block + blocks - kLastBlocks, kLastBlocks, kFirstBlocks * kPilotKeyBlock);
    const int64_t middle = padded_scores(end_keys());
    for (int64_t i = 0; i < pairs(); ++i) {
      step(first_block + kFirstBlocks + i * kPair * kSampleStride, kPair,
           middle + i * kPair * kPilotKeyBlock);
    }
  }
};

void TileEstimate::reserve_ranks(int64_t max_rows, int64_t dim, int64_t keys,
                                 const PilotDotKernel& pilot) {
  reserve_rows(max_rows, dim, pilot);
  slope_.reserve(max_rows);
  offset_.reserve(max_rows);
  const int64_t blocks = (keys + kPilotKeyBlock - 1) / kPilotKeyBlock + 1;
  stride_ = padded_scores(blocks * kPilotKeyBlock);
  scores_.reserve(stride_);
  const int64_t sampled = std::max(std::min(blocks, kWholeBlocks) * kPilotKeyBlock,
                                   Sample{0, blocks}.end_keys() + Sample{0, blocks}.middle_keys());
  sample_stride_ = ((padded_scores(sampled) + kScorePadding) / kScorePadding | 1) * kScorePadding;
  sample_.reserve(max_rows * sample_stride_);
}

void TileEstimate::score_sample(const Sample& sample, const KeyEstimate& keys, int64_t rows,
                                int64_t dim, const PilotDotKernel& pilot) {
  PilotTile tile = score_tile(keys, rows, dim);
  tile.stride = sample_stride_;
  sample.for_each_run([&](int64_t block, int64_t blocks, int64_t position) {
    tile.keys = keys.packed(block);
    tile.key_factor = keys.factors() + block * kPilotKeyBlock;
    tile.key_blocks = blocks;
    tile.scores = sample_.data() + position;
    pilot.scores(tile);
  });
  const int64_t end = sample.end_keys();
  for (int64_t i = 0; i < rows; ++i) {
    int16_t* scores = sample_.data() + i * sample_stride_;
    std::fill(scores + end, scores + padded_scores(end), kHiddenScore);
  }
}

void TileEstimate::hide_in_sample(const Sample& sample, const Visibility& visibility,
                                  const ListRows& list, const KeyEstimate& keys) {
  int64_t full_begin = keys.begin();  // what every row sees
  int64_t full_end = keys.end();
  for (int64_t i = 0; i < list.count(); ++i) {
    const RowVisibility& seen = visibility.row(list.head(i), list.row(i));
    full_begin = std::max<int64_t>(full_begin, seen.begin);
    full_end = std::min<int64_t>(full_end, seen.end);
  }
  sample.for_each_run([&](int64_t block, int64_t blocks, int64_t position) {
    const int64_t first = keys.begin() + block * kPilotKeyBlock;
    const int64_t count = blocks * kPilotKeyBlock;
    if (full_begin <= first && full_end >= first + count) return;
    for (int64_t i = 0; i < list.count(); ++i) {
      const RowVisibility& seen = visibility.row(list.head(i), list.row(i));
      int16_t* scores = sample_.data() + i * sample_stride_ + position;
      const int64_t begin = std::clamp<int64_t>(seen.begin - first, 0, count);
      const int64_t end = std::clamp<int64_t>(seen.end - first, begin, count);
      std::fill(scores, scores + begin, kHiddenScore);
      std::fill(scores + end, scores + count, kHiddenScore);
    }
  });
}

void TileEstimate::set_level(const Sample& sample, const RowVisibility& seen, double slope,
                             int64_t i, const SelectKernel& select) {
  constexpr double kScale = 0x1p23;  // see pilot_dot.h: floats are built from their bits
  constexpr double kLargest = 1e37;  // slope · score + offset stays finite
  double level = 0.0;
  bool any = seen.visible > 0;
  if (units_per_log2(i) > 0.0) {
    const int16_t* scores = sample_.data() + i * sample_stride_;
    level = log_sum_level(
        {scores, sample.end_keys(), 1.0},
        {scores + padded_scores(sample.end_keys()), sample.middle_keys(), sample.weight()},
        units_per_log2(i), select, &any);
  } else if (any) {
    level = straight_log2(seen.visible);  // all logits are zero
  }
  const double offset = std::clamp(kScale * (127.0 - level), -kLargest, kLargest);
  slope_.data()[i] = any ? static_cast<float>(std::clamp(slope, -1e30, 1e30)) : 0.0F;
  offset_.data()[i] = any ? static_cast<float>(offset) : 0.0F;
}

bool TileEstimate::shares_in_range(int64_t rows, int64_t dim) const {
  for (int64_t i = 0; i < rows; ++i) {
    const int8_t* q = quantised_.data() + i * dim;
    int64_t l1 = 0;
    for (int64_t d = 0; d < dim; ++d) l1 += std::abs(q[d]);
    // Hölder: |acc · key_factor| ≤ 127 · |q8|₁. The margin covers the roundings.
    const double reach = 127.0 * static_cast<double>(l1) * std::fabs(slope_.data()[i]) * 1.0001;
    const double offset = offset_.data()[i];
    if (offset - reach < 0.0 || offset + reach > double{kRankCap}) return false;
  }
  return true;
}

bool TileEstimate::ranks(const AttentionCall& call, const KeyEstimate& keys,
                         const Visibility& visibility, const ListRows& list, int64_t step,
                         const QuantizeKernel& quantize, const PilotDotKernel& pilot,
                         const SelectKernel& select) {
  const ListRows scored = list.sampled(step);
  if (!prepare(call, keys, {&scored, 1}, quantize, pilot)) return false;
  int64_t begin = keys.end();
  int64_t end = keys.begin();
  for (int64_t i = 0; i < list.count(); ++i) {
    const RowVisibility& seen = visibility.row(list.head(i), list.row(i));
    if (seen.visible == 0) continue;
    begin = std::min<int64_t>(begin, seen.begin);
    end = std::max<int64_t>(end, seen.end);
  }
  int16_t* rank = scores_.data();
  if (begin >= end) {
    std::fill_n(rank, stride_, kHiddenScore);
    return true;
  }
  Sample sample;
  sample.first_block = (begin - keys.begin()) / kPilotKeyBlock;
  sample.blocks = (end - keys.begin() + kPilotKeyBlock - 1) / kPilotKeyBlock - sample.first_block;
  const int64_t dim = call.query.dim;
  score_sample(sample, keys, scored.count(), dim, pilot);
  hide_in_sample(sample, visibility, scored, keys);
  for (int64_t i = 0; i < scored.count(); ++i) {
    const double slope = static_cast<double>(query_scale_.data()[i]) * keys.largest_scale() *
                         call.scale * kLog2E * 0x1p23;
    set_level(sample, visibility.row(scored.head(i), scored.row(i)), slope, i, select);
  }

  PilotRank request;
  request.queries = packed_.data();
  request.rows = scored.count();
  request.keys = keys.packed(sample.first_block);
  request.key_blocks = sample.blocks;
  request.dim = dim;
  request.key_factor = keys.factors() + sample.first_block * kPilotKeyBlock;
  request.slope = slope_.data();
  request.offset = offset_.data();
  request.rank = rank + sample.first_block * kPilotKeyBlock;
  request.in_range = shares_in_range(scored.count(), dim);
  pilot.ranks(request);
  std::fill(rank, rank + (begin - keys.begin()), kHiddenScore);
  std::fill(rank + (end - keys.begin()), rank + stride_, kHiddenScore);
  return true;
}

}  // namespace shadowattn
