#include "quality_sums.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace shadowattn::plugin {

using Json = nlohmann::ordered_json;

SampleSums::SampleSums(const RowSample& sample)
    : rows(1),
      lost(sample.lost),
      worst_lost(sample.lost),
      oracle_lost(sample.oracle_lost),
      estimated_lost(sample.estimated_lost),
      recall(sample.recall),
      squared_error(sample.squared_error),
      visible(sample.visible),
      kept(sample.kept),
      oracle_kept(sample.oracle_kept) {}

void SampleSums::add(const SampleSums& other) {
  rows += other.rows;
  lost += other.lost;
  worst_lost = std::max(worst_lost, other.worst_lost);
  oracle_lost += other.oracle_lost;
  estimated_lost += other.estimated_lost;
  recall += other.recall;
  squared_error += other.squared_error;
  visible += other.visible;
  kept += other.kept;
  oracle_kept += other.oracle_kept;
}

Json SampleSums::to_json() const {
  const double count = std::max<double>(static_cast<double>(rows), 1.0);
  const double tokens = std::max<double>(static_cast<double>(visible), 1.0);
  return {{"sampled_rows", rows},
          {"lost_mean", lost / count},
          {"lost_worst", worst_lost},
          {"lost_estimated", estimated_lost / count},
          {"lost_oracle", oracle_lost / count},
          {"recall_mean", recall / count},
          {"output_error", output_error()},
          {"kept_share", static_cast<double>(kept) / tokens},
          {"oracle_share", static_cast<double>(oracle_kept) / tokens}};
}

void QualitySums::add(std::span<const RowSample> samples) {
  for (const RowSample& sample : samples) {
    const SampleSums one(sample);
    all_.add(one);
    heads_[sample.head].add(one);
  }
}

void QualitySums::add(const QualitySums& other) {
  all_.add(other.all_);
  for (const auto& [head, sums] : other.heads_) heads_[head].add(sums);
}

Json QualitySums::to_json() const {
  Json json = all_.to_json();
  json["heads"] = Json::array();
  for (const auto& [head, sums] : heads_) {
    Json entry = {{"head", head}};
    entry.update(sums.to_json());
    json["heads"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace shadowattn::plugin
