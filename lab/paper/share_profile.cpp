#include "paper/share_profile.h"

#include <algorithm>

#include "profile/budget.h"

namespace shadowattn::tool::paper {

Profile share_profile(const Importance& importance, const HeadShape& shape, double budget) {
  const int64_t group = shape.heads / shape.kv_heads;
  std::vector<double> values;
  for (size_t layer = 0; layer < importance.layers.size(); ++layer) {
    for (int64_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
      double sum = 0;
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        sum += head_importance(importance.heads[layer][static_cast<size_t>(head)],
                               importance.layers[layer]);
      }
      values.push_back(sum / static_cast<double>(group));
    }
  }
  const std::vector<double> shares =
      shares_by_importance(values, budget, std::min(kLeastShare, budget));
  Profile profile;
  profile.note = "shares by importance, for an experiment";
  for (size_t layer = 0; layer < importance.layers.size(); ++layer) {
    LayerProfile& made = profile.layers.emplace_back();
    made.head_dim = shape.dim;
    KvHeadProfile lists;
    lists.lists = {false, 1, false};
    made.kv_heads.assign(static_cast<size_t>(shape.kv_heads), lists);
    for (int64_t head = 0; head < shape.heads; ++head) {
      HeadProfile one;
      one.keep = std::min(
          shares[layer * static_cast<size_t>(shape.kv_heads) + static_cast<size_t>(head / group)],
          kMostShare);
      made.heads.push_back(one);
    }
  }
  return profile;
}

}  // namespace shadowattn::tool::paper
