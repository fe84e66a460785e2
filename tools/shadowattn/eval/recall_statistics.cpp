#include "eval/recall_statistics.h"

#include <algorithm>
#include <numeric>

#include "eval/kld_statistics.h"

namespace shadowattn::tool::eval {
namespace {

void append_values(std::vector<double>& values, const std::vector<double>& more) {
  values.insert(values.end(), more.begin(), more.end());
}

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 1;
}

}  // namespace

Spread spread(std::vector<double> values, bool more_is_better) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {sum / static_cast<double>(values.size()),
          percentile(values, more_is_better ? 0.01 : 0.99),
          more_is_better ? values.front() : values.back()};
}

void ListQualities::Values::append(const Values& other) {
  append_values(recall, other.recall);
  append_values(mass, other.mass);
  append_values(gap, other.gap);
  append_values(error, other.error);
  estimated_mass += other.estimated_mass;
  visible += other.visible;
  kept += other.kept;
  oracle_kept += other.oracle_kept;
}

void ListQualities::add(int layer, const RowSample& sample) {
  Values& values = values_[{layer, sample.head}];
  values.recall.push_back(sample.recall);
  values.mass.push_back(std::max(1 - sample.lost, 0.0));  // below 0 by rounding
  values.gap.push_back(sample.lost - sample.oracle_lost);
  values.estimated_mass += 1 - sample.estimated_lost;
  values.visible += sample.visible;
  values.kept += sample.kept;
  values.oracle_kept += sample.oracle_kept;
}

void ListQualities::add_output_error(int layer, int head, double error) {
  values_[{layer, head}].error.push_back(error);
}

ListQuality ListQualities::quality(const Values& values) {
  ListQuality result;
  result.rows = static_cast<int64_t>(values.recall.size());
  result.recall = spread(values.recall, true);
  result.mass = spread(values.mass, true);
  result.oracle_gap = spread(values.gap, false);
  result.output_error = spread(values.error, false);
  if (result.rows > 0)
    result.estimated_mass = values.estimated_mass / static_cast<double>(result.rows);
  result.kept = share(values.kept, values.visible);
  result.oracle_kept = share(values.oracle_kept, values.visible);
  return result;
}

ListQuality ListQualities::all() const {
  Values sum;
  for (const auto& [head, values] : values_) sum.append(values);
  return quality(sum);
}

std::map<ListQualities::Head, ListQuality> ListQualities::heads() const {
  std::map<Head, ListQuality> result;
  for (const auto& [head, values] : values_) result.emplace(head, quality(values));
  return result;
}

}  // namespace shadowattn::tool::eval
