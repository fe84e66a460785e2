#include "plan/list_budget.h"

#include <algorithm>
#include <cmath>

namespace shadowattn {

int64_t ListBudget::most(int64_t visible) const {
  // 0.2 · 1000 may come out a rounding above 200: that is still 200 tokens.
  const double share = keep * static_cast<double>(visible);
  const auto wanted = static_cast<int64_t>(std::ceil(share * (1.0 - 1e-12)));
  return std::min(std::max<int64_t>(wanted, floor), visible);
}

}  // namespace shadowattn
