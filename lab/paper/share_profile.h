// Shares of tokens by importance, as the paper has them: by what the loss rises when a head's and
// when its whole layer's attention is removed. Pure; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "shadowattn/profile.h"

namespace shadowattn::tool::paper {

/// No head gets less, or less than the average; as in `shadowattn profile`.
inline constexpr double kLeastShare = 0.02;
/// Nor more: a call that may keep all of its tokens is dense in all heads.
inline constexpr double kMostShare = 0.9;

/// Attention of a model as all its layers have it.
struct HeadShape {
  int32_t dim = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
};

/// Losses of a model without heads.
struct Importance {
  double loss = 0;                         ///< with all of them, nats per token
  std::vector<double> layers;              ///< rise of the loss without the layer's attention
  std::vector<std::vector<double>> heads;  ///< [layer][query head] rise without the head
  int64_t tokens = 0;                      ///< that it was measured on
};

/// Shares per KV head with the average `budget`: lists are per KV head, so what the query heads of
/// one are worth is their mean. Less than `budget` on average where kMostShare limits one. Lists of
/// every row for itself.
Profile share_profile(const Importance& importance, const HeadShape& shape, double budget);

}  // namespace shadowattn::tool::paper
