#include "measure/scale_pairs.h"

#include <algorithm>
#include <cmath>

#include "device/scale_grid.h"

namespace shadowattn::tool::measure {
namespace {

/// Whether a pair `query` and `key` steps from the mean is one of `count`.
bool is_in(int count, int query, int key) {
  if (count == 1) return query == 0 && key == 0;
  if (count == 3) return query == key;
  if (count == 5) return query == 0 || key == 0;
  return true;
}

double squared_error(ScalePair pair, ScalePair measured) {
  const double query = double{pair.query} - measured.query;
  const double key = double{pair.key} - measured.key;
  return query * query + key * key;
}

double product(ScalePair pair) { return double{pair.query} * pair.key; }

}  // namespace

Result<std::vector<ScalePair>> scale_pairs(ScalePair mean, double step, int count) {
  if (count != 1 && count != 3 && count != 5 && count != 9 && count != 25) {
    return Status::invalid_argument("scale pairs: 1, 3, 5, 9 or 25 are expected");
  }
  const int reach = count == 25 ? 2 : 1;  // steps to either side of the mean
  const Result<ScaleGrid> query = spread_grid(mean.query, step, 2 * reach + 1);
  if (!query.ok()) return query.status();
  const Result<ScaleGrid> key = spread_grid(mean.key, step, 2 * reach + 1);
  if (!key.ok()) return key.status();
  std::vector<ScalePair> pairs;
  for (int q = -reach; q <= reach; ++q) {
    for (int k = -reach; k <= reach; ++k) {
      if (!is_in(count, q, k)) continue;
      pairs.push_back({query.value().scales[static_cast<size_t>(q + reach)],
                       key.value().scales[static_cast<size_t>(k + reach)]});
    }
  }
  return pairs;
}

ScalePair nearest_pair(std::span<const ScalePair> pairs, ScalePair measured) {
  return *std::min_element(pairs.begin(), pairs.end(), [measured](ScalePair a, ScalePair b) {
    return squared_error(a, measured) < squared_error(b, measured);
  });
}

std::optional<ScalePair> covering_pair(std::span<const ScalePair> pairs, ScalePair measured) {
  std::optional<ScalePair> best;
  for (const ScalePair pair : pairs) {
    if (pair.query < measured.query || pair.key < measured.key) continue;
    if (!best || product(pair) < product(*best)) best = pair;
  }
  return best;
}

}  // namespace shadowattn::tool::measure
