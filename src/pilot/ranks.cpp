// TileEstimate's second half: one rank per key for all rows of a list.
#include <algorithm>
#include <cmath>

#include "pilot/pilot.h"

namespace shadowattn {

void TileEstimate::reserve_ranks(int64_t max_rows, int64_t dim, int64_t keys,
                                 const PilotDotKernel& pilot) {
  reserve_rows(max_rows, dim, pilot);
  levels_.reserve(max_rows, keys);
  const int64_t blocks = (keys + kPilotKeyBlock - 1) / kPilotKeyBlock + 1;
  stride_ = padded_scores(blocks * kPilotKeyBlock);
  scores_.reserve(stride_);
}

void TileEstimate::score_sample(const KeySample& sample, const KeyEstimate& keys, int64_t rows,
                                int64_t dim, const PilotDotKernel& pilot) {
  PilotTile tile = score_tile(keys, rows, dim);
  tile.stride = levels_.stride();
  sample.for_each_run([&](int64_t block, int64_t blocks, int64_t position) {
    tile.keys = keys.packed(block);
    tile.key_factor = keys.factors() + block * kPilotKeyBlock;
    tile.key_blocks = blocks;
    tile.scores = levels_.sample(0) + position;
    pilot.scores(tile);
  });
}

bool TileEstimate::shares_in_range(int64_t rows, int64_t dim) const {
  for (int64_t i = 0; i < rows; ++i) {
    const int8_t* q = quantised_.data() + i * dim;
    int64_t l1 = 0;
    for (int64_t d = 0; d < dim; ++d) l1 += std::abs(q[d]);
    // Hölder: |acc · key_factor| ≤ 127 · |q8|₁.
    if (!levels_.in_range(i, 127.0 * static_cast<double>(l1))) return false;
  }
  return true;
}

bool TileEstimate::ranks(const AttentionCall& call, const KeyEstimate& keys,
                         const Visibility& visibility, const ListRows& list, int64_t step,
                         const QuantizeKernel& quantize, const PilotDotKernel& pilot,
                         const SelectKernel& select) {
  constexpr double kLog2E = 1.4426950408889634;
  const ListRows scored = list.sampled(step);
  if (!prepare(call, keys, {&scored, 1}, quantize, pilot)) return false;
  first_key_ = keys.begin();
  int16_t* rank = scores_.data();
  const KeyRange seen = visible_range(visibility, list);
  if (seen.begin >= seen.end) {
    sample_ = {};
    std::fill_n(rank, stride_, kHiddenScore);
    return true;
  }
  const int64_t begin = seen.begin - keys.begin();
  const int64_t end = seen.end - keys.begin();
  KeySample& sample = sample_;
  sample.first_block = begin / kPilotKeyBlock;
  sample.blocks = (end + kPilotKeyBlock - 1) / kPilotKeyBlock - sample.first_block;
  const int64_t dim = call.query.dim;
  score_sample(sample, keys, scored.count(), dim, pilot);
  levels_.hide(sample, visibility, scored, keys.begin());
  const ScoreRows sampled = rows();
  for (int64_t i = 0; i < scored.count(); ++i) {
    const double slope = static_cast<double>(query_scale_.data()[i]) * keys.largest_scale() *
                         call.scale * kLog2E * 0x1p23;
    levels_.set(sample, visibility.row(scored.head(i), scored.row(i)), sampled.units_per_log2(i),
                slope, i, select);
  }

  PilotRank request;
  request.queries = packed_.data();
  request.rows = scored.count();
  request.keys = keys.packed(sample.first_block);
  request.key_blocks = sample.blocks;
  request.dim = dim;
  request.key_factor = keys.factors() + sample.first_block * kPilotKeyBlock;
  request.slope = levels_.slope();
  request.offset = levels_.offset();
  request.rank = rank + sample.first_block * kPilotKeyBlock;
  request.in_range = shares_in_range(scored.count(), dim);
  pilot.ranks(request);
  std::fill(rank, rank + begin, kHiddenScore);
  std::fill(rank + end, rank + stride_, kHiddenScore);
  hide_holes(visibility, list, seen, rank + begin);
  return true;
}

void TileEstimate::leave_out_unseen(const Visibility& visibility, const ListRows& list,
                                    int64_t step) {
  levels_.leave_out_unseen(sample_, visibility, list.sampled(step), first_key_, row_factor_.data(),
                           scores_.data());
}

}  // namespace shadowattn
