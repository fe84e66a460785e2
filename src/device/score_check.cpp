#include "device/score_check.h"

#include <algorithm>
#include <array>

#include "kernels/pilot_dot/requantise.h"

namespace shadowattn {
namespace {

/// splitmix64: neighbouring seeds give unrelated numbers.
uint64_t scramble(uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

int64_t pick(uint64_t* seed, int64_t count) {
  *seed = scramble(*seed);
  return static_cast<int64_t>(*seed % static_cast<uint64_t>(count));
}

int64_t row_count(const DeviceScores& scores) { return scores.rows.count * scores.heads; }

int32_t dot(const int8_t* q, const int8_t* k, int64_t dim) {
  int32_t sum = 0;
  for (int64_t d = 0; d < dim; ++d) sum += q[d] * k[d];
  return sum;
}

using Histogram = std::array<int32_t, 256>;

/// By the rank of a score: bin 0 holds the largest.
Histogram count_row(const DeviceScores& scores, int64_t row, KeyRange keys) {
  const bool negative = scores.log2_per_unit < 0.0;
  Histogram bins{};
  for (const DeviceScores::KeyTileScores& tile : scores.tiles) {
    const int64_t begin = std::max(keys.begin - scores.first_key, tile.first);
    const int64_t end = std::min(keys.end - scores.first_key, tile.first + tile.keys);
    const int8_t* of_row = tile.scores + row * tile.keys - tile.first;
    for (int64_t j = begin; j < end; ++j) {
      // -128 is no answer, but may be in what the check did not look at.
      const int score = std::max(negative ? -of_row[j] : +of_row[j], -127);
      ++bins[static_cast<size_t>(127 - std::min(score, 127))];
    }
  }
  return bins;
}

}  // namespace

bool scores_are_right(const DeviceScores& scores, const DeviceOperandView& operands, uint64_t seed,
                      DeviceReport* report) {
  constexpr int64_t kChecked = 64;
  for (const DeviceScores::KeyTileScores& tile : scores.tiles) {
    const int64_t row = pick(&seed, row_count(scores));
    const int64_t first = pick(&seed, std::max<int64_t>(tile.keys - kChecked, 0) + 1);
    const int8_t* q = operands.queries + row * operands.dim;
    const int64_t count = std::min(kChecked, tile.keys);
    for (int64_t j = first; j < first + count; ++j) {
      const int32_t sum = dot(q, operands.keys + (tile.first + j) * operands.dim, operands.dim);
      if (tile.scores[row * tile.keys + j] != requantise(sum, operands.requantisation)) {
        return false;
      }
    }
    report->checked_scores += count;
  }
  return true;
}

int64_t count_invalid(const DeviceScores& scores, DeviceReport* report) {
  int64_t invalid = 0;
  for (const DeviceScores::KeyTileScores& tile : scores.tiles) {
    const int64_t count = row_count(scores) * tile.keys;
    // A few at a time, so that the compiler counts in bytes.
    constexpr int64_t kStep = 64;
    for (int64_t first = 0; first < count; first += kStep) {
      uint8_t here = 0;
      const int64_t end = std::min(first + kStep, count);
      for (int64_t i = first; i < end; ++i)
        here = static_cast<uint8_t>(here + (tile.scores[i] == INT8_MIN ? 1 : 0));
      invalid += here;
    }
  }
  report->invalid_scores += invalid;
  return invalid;
}

void count_saturated(const DeviceScores& scores, const EngineOptions& options,
                     const Visibility& visibility, uint64_t seed, DeviceReport* report) {
  const int64_t row = pick(&seed, row_count(scores));
  const RowVisibility& seen = visibility.row(scores.first_head + row % scores.heads,
                                             scores.rows.first + row / scores.heads);
  if (!seen.plain || seen.visible == 0) return;
  const Histogram bins = count_row(scores, row, {seen.begin, seen.end});
  report->sampled_scores += seen.visible;
  report->saturated_scores += bins[0] + bins[254];
  const int64_t keep = keep_count(options, seen.visible);
  int64_t above = 0;
  size_t bin = 0;
  while (above + bins[bin] < keep) above += bins[bin++];
  report->sampled_kept += keep;
  if (above + bins[bin] > keep) report->tied_kept += keep - above;
}

}  // namespace shadowattn
