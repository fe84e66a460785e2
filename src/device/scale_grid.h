// Static scales: which scale, out of a few fixed ones, INT8 operands of a device are quantised
// with, and which multiplier its graph is compiled for.
//
// value ≈ scale · q, q in [-127, 127], one scale for all rows of an operand. A row's own scale is
// its largest magnitude / 127; with a smaller one its largest elements clip, with a larger one its
// steps are coarser than they need be.
//
// Pure functions; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "shadowattn/device.h"

namespace shadowattn {

/// The scales to choose from.
struct ScaleGrid {
  std::vector<float> scales;  ///< ascending, positive; not empty unless `exact`
  bool exact = false;         ///< no grid: the scale is the measured one; `scales` is not read
};

/// Of geometric_grid and of the multipliers: a step costs at most half a bit of resolution.
inline constexpr double kGridRatio = 1.4142135623730951;

/// Powers of kGridRatio from 2^-14 to 2^6. Needs no calibration: an operand between two steps loses
/// half a bit whatever its model. The range is that of largest elements from 0.008 to 8128; real
/// queries and keys have some tens, rarely some hundreds. Throws std::bad_alloc.
ScaleGrid geometric_grid();

/// A few steps around a calibrated mean: mean · step^k, k = -(count-1)/2 … (count-1)/2. A step of
/// 0.5 and a count of 3 give {mean/2, mean, 2·mean}. `step`: positive, not 1; `count`: odd, at most
/// 255; kInvalidArgument when these or a scale that follows from them are out of a float's normal
/// range. Throws std::bad_alloc.
Result<ScaleGrid> spread_grid(double mean, double step, int count);

/// The smallest scale of the grid that at most `clip_share` of the rows exceed; these rows clip.
/// nullopt: no scale of the grid is large enough.
///
/// `row_scales`: the largest magnitude of each row / 127, not negative; reordered. Rows that are
/// not finite count as larger than any scale. `clip_share`: 0 … 1, cut to that.
///
/// Exact grids: the smallest positive row scale that at most `clip_share` of the rows exceed; 1
/// when no row has one.
std::optional<float> choose_scale(const ScaleGrid& grid, std::span<float> row_scales,
                                  double clip_share);

/// The rule of the original implementation, to compare with: the scale nearest to the largest row
/// scale, the smaller one at equal distance. Rows that exceed it by up to half a step, or by
/// anything above the last scale, clip. Exact grids: as choose_scale without clipping. nullopt: a
/// row is not finite.
std::optional<float> nearest_scale(const ScaleGrid& grid, std::span<float> row_scales);

/// Sums are sampled in units of so much, so that those of dim 256 fit 16 bits.
inline constexpr int32_t kSampledSumUnit = 256;

/// The largest multiplier of the grid 1, 1/√2, 1/2, … (each as requantisation_below gives it) that
/// makes at most `saturated_share` of the sums exceed 127. The smallest one when none does; the
/// largest for no sums at all.
///
/// A grid, not the best multiplier itself: a graph is compiled for a multiplier, so layers, heads
/// and calls that are alike should ask for the same one, and heads can only be fused into a launch
/// when they do. A step costs at most half a bit of the scores' resolution.
///
/// `sums`: sampled INT32 sums / kSampledSumUnit, rounded; replaced by their magnitudes and
/// reordered. `saturated_share`: 0 … 1, cut to that.
Requantisation choose_requantisation(std::span<int16_t> sums, double saturated_share);

}  // namespace shadowattn
