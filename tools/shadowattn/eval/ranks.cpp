#include "eval/ranks.h"

#include <algorithm>

namespace shadowattn::tool::eval {

int rank_of_first(std::span<const double> nlls) {
  if (nlls.empty()) return 0;
  const double first = nlls.front();
  return 1 + static_cast<int>(std::count_if(nlls.begin(), nlls.end(),
                                            [&](double other) { return other < first; }));
}

double top_share(std::span<const int> ranks, int limit) {
  const auto ranked = std::count_if(ranks.begin(), ranks.end(), [](int rank) { return rank > 0; });
  const auto top = std::count_if(ranks.begin(), ranks.end(),
                                 [&](int rank) { return rank > 0 && rank <= limit; });
  return ranked == 0 ? 0 : static_cast<double>(top) / static_cast<double>(ranked);
}

}  // namespace shadowattn::tool::eval
