#include "device/device_scores.h"

#include <algorithm>
#include <cmath>

namespace shadowattn {
namespace {

constexpr int64_t kRankStep = 64;  // keys; what ScoreRank takes
constexpr double kLn2 = 0.6931471805599453;

int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

/// Where row i of the list lies among the rows of the tile.
int64_t tile_row(const DeviceScores& device, const ListRows& list, int64_t i) {
  return (list.row(i) - device.rows.first) * device.heads + list.head(i) - device.first_head;
}

double log2_per_unit(const DeviceScores& device, const ListRows& list, int64_t i) {
  return device.query_scale[tile_row(device, list, i)] * device.log2_per_unit;
}

constexpr double kWidened = 256.0;     // ScoreRankKernel::widen
constexpr double kLowestByte = 128.0;  // scores end at ±127, but a device may return anything

/// Copies `count` scores of a tile row from `first` on (relative to first_key), widened, and turned
/// round where a negative softmax scale turns the order of the logits round.
void copy_scores(const DeviceScores& device, int64_t row, int64_t first, int64_t count,
                 const ScoreRankKernel& kernel, int16_t* out) {
  for (const DeviceScores::KeyTileScores& tile : device.tiles) {
    const int64_t begin = std::max(first, tile.first);
    const int64_t end = std::min(first + count, tile.first + tile.keys);
    if (begin >= end) continue;
    kernel.widen(tile.scores + row * tile.keys + begin - tile.first, end - begin,
                 out + begin - first);
  }
  if (device.log2_per_unit >= 0.0) return;
  for (int64_t j = 0; j < count; ++j) out[j] = static_cast<int16_t>(-out[j]);
}

}  // namespace

void DeviceEstimate::reserve(int64_t max_list_rows, int64_t keys, bool ranks) {
  stride_ = padded_scores(round_up(keys, kRankStep) + kRankStep);
  scores_.reserve(ranks ? stride_ : max_list_rows * stride_);
  units_per_logit_.reserve(max_list_rows);
  if (ranks) levels_.reserve(max_list_rows, keys);
  row_factor_.reserve(max_list_rows);
}

void DeviceEstimate::ranks(const DeviceScores& device, const Visibility& visibility,
                           const ListRows& list, const ScoreRankKernel& kernel,
                           const SelectKernel& select) {
  first_key_ = device.first_key;
  int16_t* rank = scores_.data();
  const KeyRange seen = visible_range(visibility, list);
  if (seen.begin >= seen.end) {
    sample_ = {};
    std::fill_n(rank, stride_, kHiddenScore);
    return;
  }
  const int64_t begin = seen.begin - first_key_;
  const int64_t end = seen.end - first_key_;
  KeySample& sample = sample_;
  sample.first_block = begin / kPilotKeyBlock;
  sample.blocks = (end + kPilotKeyBlock - 1) / kPilotKeyBlock - sample.first_block;
  const int64_t rows = list.count();
  for (int64_t i = 0; i < rows; ++i) {
    sample.for_each_run([&](int64_t block, int64_t blocks, int64_t position) {
      copy_scores(device, tile_row(device, list, i), block * kPilotKeyBlock,
                  blocks * kPilotKeyBlock, kernel, levels_.sample(i) + position);
    });
  }
  levels_.hide(sample, visibility, list, first_key_);
  bool in_range = true;
  for (int64_t i = 0; i < rows; ++i) {
    const double unit = log2_per_unit(device, list, i);
    levels_.set(sample, visibility.row(list.head(i), list.row(i)),
                unit != 0.0 ? kWidened / std::fabs(unit) : 0.0, unit * 0x1p23, i, select);
    in_range = in_range && levels_.in_range(i, kLowestByte);
  }

  // Rows of a list are one head's, or all heads' of neighbouring query rows.
  const int64_t row_step = list.heads == device.heads ? 1 : device.heads;
  ScoreRank request;
  request.rows = rows;
  request.slope = levels_.slope();
  request.offset = levels_.offset();
  request.in_range = in_range;
  for (const DeviceScores::KeyTileScores& tile : device.tiles) {
    const int64_t first = std::max(begin / kRankStep * kRankStep, tile.first);
    const int64_t last = std::min(round_up(end, kRankStep), tile.first + tile.keys);
    if (first >= last) continue;
    request.scores = tile.scores + tile_row(device, list, 0) * tile.keys + first - tile.first;
    request.stride = row_step * tile.keys;
    request.keys = last - first;
    request.rank = rank + first;
    kernel.ranks(request);
  }
  std::fill(rank, rank + begin, kHiddenScore);
  std::fill(rank + end, rank + stride_, kHiddenScore);
  hide_holes(visibility, list, seen, rank + begin);
}

void DeviceEstimate::leave_out_unseen(const DeviceScores& device, const Visibility& visibility,
                                      const ListRows& list) {
  const double factor = device.log2_per_unit < 0.0 ? -kWidened : kWidened;
  std::fill_n(row_factor_.data(), list.count(), static_cast<float>(factor));
  levels_.leave_out_unseen(sample_, visibility, list, first_key_, row_factor_.data(),
                           scores_.data());
}

void DeviceEstimate::scores(const DeviceScores& device, const Visibility& visibility,
                            const ListRows& list, const ScoreRankKernel& kernel) {
  first_key_ = device.first_key;
  const int64_t needed = visible_range(visibility, list).end - first_key_;
  for (int64_t i = 0; i < list.count(); ++i) {
    int16_t* out = scores_.data() + i * stride_;
    copy_scores(device, tile_row(device, list, i), 0, std::max<int64_t>(needed, 0), kernel, out);
    const double unit = log2_per_unit(device, list, i);
    units_per_logit_.data()[i] = unit != 0.0 ? kWidened / (std::fabs(unit) * kLn2) : 0.0;
    hide_keys(visibility, list.head(i), list.row(i), rows(), i);
  }
}

int64_t DeviceEstimate::scratch_bytes() const {
  return scores_.bytes() + units_per_logit_.bytes() + row_factor_.bytes() + levels_.scratch_bytes();
}

}  // namespace shadowattn
