// Scales for devices with static graphs, from those that a model's operands need.
#pragma once

#include <span>
#include <vector>

#include "shadowattn/attention.h"

namespace shadowattn::tool {

/// Scales that the heads of one layer need, one per KV head: with it at most clip_share of the rows
/// clip (DeviceOptions).
struct NeededScales {
  std::vector<float> query;
  std::vector<float> key;  ///< of keys without their mean, as devices take them
};

/// Of the keys that the call's rows see. Heads whose operands are not finite, or all zero, need
/// none.
NeededScales measure_scales(const AttentionCall& call, double clip_share);

/// A grid, ascending, for heads that need these scales: neighbours within half a bit share one, and
/// each has room for texts with somewhat larger elements. The last is for much larger ones. Empty
/// for none.
std::vector<float> scale_buckets(std::vector<float> needed);

}  // namespace shadowattn::tool
