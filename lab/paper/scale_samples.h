// The scales that heads need for INT8, and those that static schemes give them. Pure; any thread.
//
// A scale is a magnitude / 127: of the largest element, or of one that few rows exceed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "measure/scale_pairs.h"
#include "shadowattn/attention.h"

namespace shadowattn::tool::paper {

/// One query head of one attention call, with the KV head that it reads.
struct ScaleSample {
  int layer = 0;
  int64_t head = 0;            ///< query head
  measure::ScalePair needed;   ///< of the largest elements, keys with their mean
  size_t pair = 0;             ///< index of the pair nearest to it
  double clipped_queries = 0;  ///< share of the elements that the pair's query scale cuts off
  double clipped_keys = 0;
  /// Our grid's choice (device/scale_grid.h) for one scale per head, keys without their mean; 0:
  /// the grid has none.
  measure::ScalePair grid;
};

/// All query heads of a call. `pairs`: at least one. Keys `first_key` … `end_key` - 1 count. Throws
/// std::bad_alloc.
std::vector<ScaleSample> sample_scales(const AttentionCall& call, int64_t first_key,
                                       int64_t end_key, std::span<const measure::ScalePair> pairs);

/// Whether a static pair cuts off elements of the head.
bool is_clipped(const ScaleSample& sample, std::span<const measure::ScalePair> pairs);

}  // namespace shadowattn::tool::paper
