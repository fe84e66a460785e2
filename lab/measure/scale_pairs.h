// Static scales as published: a few pairs (query scale, key scale) around the calibrated mean. The
// engine's own choice has two independent axes and cannot express fewer pairs than their product.
//
// Pure functions; any thread.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "shadowattn/status.h"

namespace shadowattn::tool::measure {

struct ScalePair {
  float query = 0;
  float key = 0;

  bool operator==(const ScalePair&) const = default;
};

/// `count` pairs around `mean`, each axis times {step, 1, 1/step}: 1: the mean alone; 3: the
/// diagonal, both larger or both smaller; 5: the cross, one of the two; 9: the product; 25: the
/// product of {step², step, 1, 1/step, 1/step²}. Ascending by query scale, then by key scale.
/// kInvalidArgument for other counts and for what spread_grid (device/scale_grid.h) refuses. Throws
/// std::bad_alloc.
Result<std::vector<ScalePair>> scale_pairs(ScalePair mean, double step, int count);

/// The pair with the least squared error, both axes summed; the first of several.
ScalePair nearest_pair(std::span<const ScalePair> pairs, ScalePair measured);

/// Of the pairs that are not below `measured` in either axis the one with the smallest product, for
/// that is what the estimate's steps are proportional to. nullopt: there is none.
std::optional<ScalePair> covering_pair(std::span<const ScalePair> pairs, ScalePair measured);

}  // namespace shadowattn::tool::measure
