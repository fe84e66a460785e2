// TileEstimate's third way: the softmax share of every row and key.
#include <algorithm>
#include <bit>
#include <cmath>

#include "pilot/estimate_error.h"
#include "pilot/pilot.h"
#include "pilot/row_level.h"

namespace shadowattn {
namespace {

constexpr double kLog2E = 1.4426950408889634;
int64_t padded_rows(int64_t rows) { return (rows + kShareRows - 1) / kShareRows * kShareRows; }

int64_t blocks_for(int64_t keys) { return (keys + kPilotKeyBlock - 1) / kPilotKeyBlock + 1; }

/// Elements of a row of shares. An odd number of cache lines: rows at a power-of-two distance would
/// fight for the same few sets of the first-level cache.
int64_t share_stride(int64_t blocks) {
  constexpr int64_t kLine = 32;
  return ((blocks * kPilotKeyBlock + kLine - 1) / kLine | 1) * kLine;
}

float share_of(uint16_t half) { return std::bit_cast<float>(static_cast<uint32_t>(half) << 16); }

/// The lines from scores to the upper halves of shares: 2^7 · (127 + log2 of the share). Within
/// what PilotShares allows, far outside of what it tells apart.
float half_offset(double level) {
  return static_cast<float>(std::clamp(0x1p7 * (127.0 - level), -0x1p29, 0x1p29));
}
constexpr double kSteepest = 0x1p10;

}  // namespace

void TileEstimate::reserve_shares(int64_t max_rows, int64_t dim, int64_t keys,
                                  const PilotDotKernel& pilot) {
  const int64_t rows = padded_rows(max_rows);
  reserve_rows(rows, dim, pilot);
  projected_.reserve(rows * dim);
  share_slope_.reserve(rows);
  share_offset_.reserve(rows);
  share_total_.reserve(rows * kShareLanes);
  std::fill_n(unseen_total_.reserve(rows * kShareLanes), rows * kShareLanes, 0.0F);
  share_factor_.reserve(rows);
  shares_.reserve(rows * share_stride(blocks_for(keys)));
}

bool TileEstimate::project_queries(const AttentionCall& call, const KeyEstimate& keys,
                                   const ListRows& list, const ProjectKernel& project,
                                   const PilotDotKernel& pilot) {
  const ScoreBasis& basis = keys.basis();
  const int64_t rows = list.count();
  const int64_t dim = call.query.dim;
  project.rows({{call.query.row(list.first_head, 0), call.query.type, call.query.row_stride},
                list.rows.first,
                1,
                rows,
                dim,
                basis.query_map(),
                dim,
                nullptr,
                projected_.data()});
  if (!project.quantize(projected_.data(), dim, rows, basis.dim(), quantised_.data(),
                        query_scale_.data())) {
    return false;
  }
  pilot.pack_queries7(quantised_.data(), rows, basis.dim(), packed_.data());
  error_variance_ = 0.0;
  for (int64_t i = 0; i < rows; ++i) {
    const float step = query_scale_.data()[i];
    const double norm2 =
        largest_norm2_of(quantised_.data() + i * basis.dim(), &step, 1, basis.dim());
    const double rounding =
        logit_error_variance({call.scale, norm2, step, keys.largest_norm2(), keys.largest_scale()});
    const double left_out = call.scale * call.scale * basis.left_out(projected_.data() + i * dim);
    error_variance_ = std::max(error_variance_, rounding + left_out);
    const double slope = static_cast<double>(step) * keys.largest_scale() * call.scale * kLog2E;
    share_slope_.data()[i] = static_cast<float>(std::clamp(0x1p7 * slope, -kSteepest, kSteepest));
  }
  return true;
}

void TileEstimate::share_blocks(const KeyEstimate& keys, int64_t rows, int64_t dim, KeyRange blocks,
                                float* total, const PilotDotKernel& pilot) {
  PilotShares request;
  request.queries = packed_.data();
  request.rows = rows;
  request.keys = keys.packed(blocks.begin);
  request.key_blocks = blocks.end - blocks.begin;
  request.dim = dim;
  request.key_factor = keys.factors() + blocks.begin * kPilotKeyBlock;
  request.slope = share_slope_.data();
  request.offset = share_offset_.data();
  request.half = shares_.data() + (blocks.begin - first_block_) * kPilotKeyBlock;
  request.stride = stride_;
  request.total = total;
  pilot.shares(request);
}

void TileEstimate::hide_shares(const Visibility& visibility, const ListRows& list, KeyRange blocks,
                               float* total) {
  for (int64_t i = 0; i < list.count(); ++i) {
    uint16_t* half = shares_.data() + i * stride_ + (blocks.begin - first_block_) * kPilotKeyBlock;
    for (int64_t block = blocks.begin; block < blocks.end; ++block, half += kPilotKeyBlock) {
      const uint64_t seen =
          visibility.seen(list.head(i), list.row(i), key_begin_ + block * kPilotKeyBlock);
      for (int64_t j = 0; j < kPilotKeyBlock; ++j) {
        if ((seen >> j & 1U) == 0) half[j] = 0;
        total[i * kShareLanes] += share_of(half[j]);
      }
    }
  }
}

void TileEstimate::guess_levels(const KeyEstimate& keys, const Visibility& visibility,
                                const ListRows& list, int64_t dim, int64_t end_block,
                                const PilotDotKernel& pilot) {
  constexpr int64_t kFirst = 2;  // sinks and neighbours hold most of a row's mass
  constexpr int64_t kLast = 6;
  const int64_t rows = list.count();
  float* total = share_total_.data();
  std::fill_n(total, rows * kShareLanes, 0.0F);
  std::fill_n(share_offset_.data(), rows, half_offset(0.0));
  const int64_t first_end = std::min(first_block_ + kFirst, end_block);
  const KeyRange last{std::max(first_end, end_block - kLast), end_block};
  for (const KeyRange& blocks : {KeyRange{first_block_, first_end}, last}) {
    if (blocks.begin >= blocks.end) continue;
    share_blocks(keys, rows, dim, blocks, unseen_total_.data(), pilot);
    hide_shares(visibility, list, blocks, total);
  }
  for (int64_t i = 0; i < rows; ++i) {
    const float sum = total[i * kShareLanes];
    const double level = sum > 0.0F ? straight_log2(std::min<double>(sum, 0x1p126)) : 0.0;
    share_offset_.data()[i] = half_offset(level);
  }
}

bool TileEstimate::set_factors(const Visibility& visibility, const ListRows& list) {
  std::fill_n(share_factor_.data(), padded_rows(list.count()), 0.0F);
  for (int64_t i = 0; i < list.count(); ++i) {
    float sum = 0.0F;
    for (int64_t lane = 0; lane < kShareLanes; ++lane) {
      sum += share_total_.data()[i * kShareLanes + lane];
    }
    if (visibility.row(list.head(i), list.row(i)).visible == 0) continue;
    // Shares that reach kRankCap, 2^120, are all alike: their row's level was guessed far too low.
    if (!(sum > 0.0F && sum < 0x1p119F)) return false;
    const float factor = 1.0F / sum;
    if (!std::isfinite(factor)) return false;
    share_factor_.data()[i] = factor;
  }
  return true;
}

bool TileEstimate::shares(const AttentionCall& call, const KeyEstimate& keys,
                          const Visibility& visibility, const ListRows& list,
                          std::span<const uint8_t> whole, const ProjectKernel& project,
                          const PilotDotKernel& pilot) {
  const int64_t rows = list.count();
  const int64_t dim = keys.basis().dim();
  if (!project_queries(call, keys, list, project, pilot)) return false;
  const KeyRange seen = visible_range(visibility, list);
  if (seen.begin >= seen.end) return set_factors(visibility, list);
  key_begin_ = keys.begin();
  first_block_ = (seen.begin - keys.begin()) / kPilotKeyBlock;
  const int64_t end_block = (seen.end - keys.begin() + kPilotKeyBlock - 1) / kPilotKeyBlock;
  stride_ = share_stride(end_block - first_block_);
  guess_levels(keys, visibility, list, dim, end_block, pilot);

  std::fill_n(share_total_.data(), rows * kShareLanes, 0.0F);
  for (int64_t block = first_block_; block < end_block;) {
    KeyRange run{block, block + 1};
    const uint8_t kind = whole[static_cast<size_t>(block)];
    while (run.end < end_block && whole[static_cast<size_t>(run.end)] == kind) ++run.end;
    if (kind != 0) {
      share_blocks(keys, rows, dim, run, share_total_.data(), pilot);
    } else {
      share_blocks(keys, rows, dim, run, unseen_total_.data(), pilot);
      hide_shares(visibility, list, run, share_total_.data());
    }
    block = run.end;
  }
  for (int64_t i = rows; i < padded_rows(rows); ++i) {  // these are read
    std::fill_n(shares_.data() + i * stride_, stride_, uint16_t{0});
  }
  return set_factors(visibility, list);
}

}  // namespace shadowattn
