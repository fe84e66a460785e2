#include "profile/profile_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <vector>

#include "common/summary.h"
#include "common/text.h"

namespace shadowattn::tool {
namespace {

/// Sums over heads; a KV head's time counts for each query head that reads it.
struct Sums {
  double nanoseconds = 0;
  double kept = 0;
  double heads = 0;

  void add(const KeptCurve& curve, double kept_share, double count) {
    nanoseconds += curve.nanoseconds * count;
    kept += kept_share * count;
    heads += count;
  }
};

const KeptCurve* find_curve(const KvHeadProfile& head, const ListShape& lists) {
  for (const KeptCurve& curve : head.curves) {
    if (curve.lists == lists) return &curve;
  }
  return nullptr;
}

/// At the measured error next to `attn_error`.
double kept_near(const KeptCurve& curve, double attn_error) {
  double kept = 1.0;
  double distance = 2.0;
  for (size_t i = 0; i < curve.attn_error.size(); ++i) {
    const double here = std::abs(curve.attn_error[i] - attn_error);
    if (here < distance) kept = curve.kept[i];
    distance = std::min(distance, here);
  }
  return kept;
}

struct Totals {
  Sums chosen;
  std::vector<std::pair<ListShape, Sums>> fixed;  ///< one shape for all
};

void add_head(const KvHeadProfile& head, double group, double attn_error, Totals& totals) {
  for (const KeptCurve& curve : head.curves) {
    const auto found = std::find_if(totals.fixed.begin(), totals.fixed.end(),
                                    [&](const auto& sum) { return sum.first == curve.lists; });
    auto& sums = found == totals.fixed.end() ? totals.fixed.emplace_back(curve.lists, Sums()).second
                                             : found->second;
    sums.add(curve, kept_near(curve, attn_error), group);
    if (curve.lists == head.lists) totals.chosen.add(curve, kept_near(curve, attn_error), group);
  }
}

Totals totals_of(const Profile& profile) {
  Totals totals;
  for (const LayerProfile& layer : profile.layers) {
    if (layer.kv_heads.empty()) continue;
    const auto group = static_cast<double>(layer.heads.size() / layer.kv_heads.size());
    for (const KvHeadProfile& head : layer.kv_heads) {
      add_head(head, group, profile.attn_error, totals);
    }
  }
  return totals;
}

std::string chosen_text(const LayerProfile& layer) {
  std::vector<std::pair<std::string, int>> counts;
  for (const KvHeadProfile& head : layer.kv_heads) {
    const std::string name = lists_text(head.lists);
    const auto found = std::find_if(counts.begin(), counts.end(),
                                    [&](const auto& count) { return count.first == name; });
    if (found == counts.end()) {
      counts.emplace_back(name, 1);
    } else {
      ++found->second;
    }
  }
  std::string text;
  for (const auto& [name, count] : counts) {
    text += (text.empty() ? "" : "; ") + std::to_string(count) + " x " + name;
  }
  return text;
}

void add_layers(const Profile& profile, Table& table) {
  for (size_t i = 0; i < profile.layers.size(); ++i) {
    const LayerProfile& layer = profile.layers[i];
    if (layer.kv_heads.empty()) continue;
    Sums sums;
    Sums dense;
    for (const KvHeadProfile& head : layer.kv_heads) {
      const KeptCurve* curve = find_curve(head, head.lists);
      if (curve != nullptr) sums.add(*curve, kept_near(*curve, profile.attn_error), 1);
      curve = find_curve(head, {.dense = true});
      if (curve != nullptr) dense.add(*curve, 1, 1);
    }
    table.add_row({std::to_string(i), format_percent(sums.kept / std::max(sums.heads, 1.0)),
                   format_percent(sums.nanoseconds / std::max(dense.nanoseconds, 1e-9)),
                   chosen_text(layer)});
  }
}

}  // namespace

std::string lists_text(const ListShape& lists) {
  if (lists.dense) return "dense";
  return std::to_string(lists.rows_per_list) + (lists.rows_per_list == 1 ? " row" : " rows") +
         (lists.share_heads ? ", heads shared" : "");
}

std::string profile_summary(const Profile& profile) {
  const Totals totals = totals_of(profile);
  if (totals.chosen.heads == 0) return "";
  Table table;
  table.add_row({"layer", "kept", "time of dense", "lists of KV heads"});
  add_layers(profile, table);
  double dense = 0;
  for (const auto& [lists, sums] : totals.fixed) {
    if (lists.dense) dense = sums.nanoseconds;
  }
  const auto add = [&](const std::string& name, const Sums& sums) {
    table.add_row({"all", format_percent(sums.kept / sums.heads),
                   format_percent(sums.nanoseconds / std::max(dense, 1e-9)), name});
  };
  add("as chosen", totals.chosen);
  for (const auto& [lists, sums] : totals.fixed) add(lists_text(lists), sums);
  return table.text();
}

}  // namespace shadowattn::tool
