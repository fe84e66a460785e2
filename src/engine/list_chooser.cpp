#include "engine/list_chooser.h"

#include <algorithm>

#include "plan/profile_lookup.h"

namespace shadowattn {
namespace {

/// Lists that keep as little as this are as good as they get.
constexpr double kLeastKept = 0.02;

/// Rows that stand for a call: the last ones, which see the longest context, and some before.
std::vector<RowRange> rows_to_look_at(const Visibility& visibility, int64_t rows_per_list) {
  std::vector<RowRange> runs;
  const int64_t rows = visibility.query_rows();
  for (const int64_t last : {rows, rows / 2}) {
    const int64_t first = std::max<int64_t>(0, last - rows_per_list);
    if (first < last) runs.push_back({first, last - first});
  }
  return runs;
}

CostShape cost_shape(const AttentionCall& call) {
  return {call.key.dim, call.value.dim, call.query.heads / call.key.heads, call.key.type,
          call.value.type};
}

}  // namespace

const CostModel* ListChooser::known_costs(const AttentionCall& call, const ListShape& lists) const {
  const CostShape heads = cost_shape(call);
  for (const KnownCosts& known : costs_) {
    if (known.heads == heads && known.lists == lists) return &known.model;
  }
  return nullptr;
}

const CostModel* ListChooser::costs(const AttentionCall& call, const ListShape& lists) {
  if (const CostModel* known = known_costs(call, lists)) return known;
  const CostShape heads = cost_shape(call);
  const CostModel* dense = nullptr;
  for (const KnownCosts& known : costs_) {
    if (known.heads == heads) dense = &known.model;
  }
  EngineOptions options = options_;
  options.rows_per_list = lists.rows_per_list;
  options.share_heads = lists.share_heads;
  const Result<CostModel> model = measure_costs(options, heads, dense);
  if (!model.ok()) return nullptr;  // the caller asked for shadow attention
  costs_.push_back({heads, lists, model.value()});
  return &costs_.back().model;
}

void ListChooser::prepare(const AttentionCall& call) {
  const int64_t group_heads = call.query.heads / call.key.heads;
  for (const ListShape& lists : list_candidates(wanted(), group_heads)) {
    if (costs(call, lists) == nullptr) return;
  }
}

ListBudget ListChooser::budget(const LayerProfile* profile, int64_t kv_head, int64_t group_heads,
                               double strictness) const {
  ListBudget budget = ListBudget::from(options_);
  budget.attn_error /= strictness;
  if (profile == nullptr) return budget;
  double most = 0.0;
  for (int64_t h = kv_head * group_heads; h < (kv_head + 1) * group_heads; ++h) {
    most = std::max(most, profile->heads[static_cast<size_t>(h)].keep);
  }
  budget.keep = std::min(budget.keep, most);
  return budget;
}

std::vector<HeadLists> ListChooser::start(const AttentionCall& call, const Visibility& visibility,
                                          int64_t dense_rows) {
  const int64_t group_heads = call.query.heads / call.key.heads;
  const LayerProfile* profile =
      options_.profile == nullptr ? nullptr : find_layer(*options_.profile, call);
  std::vector<KvHeadMemory>& memory = memory_.heads(call.layer, call.key.heads);
  std::vector<HeadLists> heads;
  for (int64_t kv_head = 0; kv_head < call.key.heads; ++kv_head) {
    const KvHeadMemory& known = memory[static_cast<size_t>(kv_head)];
    HeadLists head;
    head.budget = budget(profile, kv_head, group_heads, known.strictness);
    head.lists =
        profile != nullptr ? profile->kv_heads[static_cast<size_t>(kv_head)].lists : wanted();
    heads.push_back(head);
  }
  if (!options_.gate) return heads;
  const bool few_rows = visibility.query_rows() < options_.rows_per_list;
  if (profile != nullptr) {
    // A profile is about prompts: a list for a decode step costs what a list for eight rows does.
    for (HeadLists& head : heads) head.lists.dense |= few_rows;
    return heads;
  }
  // What is added to logits is looked up key by key: an estimate costs more than it saves.
  if (visibility.any_biased()) {
    for (HeadLists& head : heads) head.lists.dense = true;
    return heads;
  }
  // Whatever the estimate will say: few rows do not pay for one.
  const CostModel* model = costs(call, wanted());
  if (model == nullptr) return heads;
  for (size_t i = 0; i < heads.size(); ++i) {
    HeadLists& head = heads[i];
    if (few_rows && head.budget.by_mass()) {  // too few to look at: what is known must do
      const KvHeadMemory& known = memory[i];
      head.lists = known.lists;
      head.lists.dense =
          known.chosen_at == 0 || known.lists.dense ||
          !predict_cost(*model, wanted(), {.keep = known.kept}, visibility, group_heads, dense_rows)
               .shadow_pays();
      continue;
    }
    ListBudget hoped = head.budget;
    if (hoped.by_mass()) hoped.keep = std::min(hoped.keep, kLeastKept);
    if (!predict_cost(*model, wanted(), hoped, visibility, group_heads, dense_rows).shadow_pays()) {
      head.lists.dense = true;
    } else if (head.budget.by_mass()) {
      head.open = LayerMemory::is_stale(memory[i], visibility.max_visible());
      if (!head.open) head.lists = memory[i].lists;
    }
  }
  return heads;
}

std::optional<ListChooser::Choice> ListChooser::choose(const CallContext& context, int64_t kv_head,
                                                       int64_t dense_rows,
                                                       TileWorker& worker) const {
  const int64_t group_heads = context.call.query.heads / context.call.key.heads;
  const std::vector<RowRange> looked_at =
      rows_to_look_at(context.visibility, options_.rows_per_list);
  std::vector<ShapeOffer> offers;
  double lowest = 0.0;
  for (const ListShape& lists : list_candidates(wanted(), group_heads)) {
    const CostModel* model = known_costs(context.call, lists);
    if (model == nullptr) break;
    ShapeOffer offer{lists, *model, kLeastKept};
    const PredictedCost hoped = predict_cost(offer.costs, lists, {.keep = kLeastKept},
                                             context.visibility, group_heads, dense_rows);
    // Finer lists only cost more.
    if (!hoped.shadow_pays() || (lowest > 0.0 && hoped.shadow >= lowest)) break;
    CallPlan plan;
    plan.share_heads = lists.share_heads;
    plan.ranks = true;  // no row is biased
    for (const RowRange& rows : looked_at) {
      plan.tiles.push_back({rows, list_groups(context.visibility, lists.rows_per_list, rows)});
    }
    CallContext look = context.with(plan);
    worker.reserve(look);
    int64_t kept = 0;
    int64_t visible = 0;
    for (const QueryTile& tile : plan.tiles) {
      if (!worker.count_kept(look, tile, kv_head, &kept, &visible)) return {};
    }
    offer.kept = visible == 0 ? 1.0 : static_cast<double>(kept) / static_cast<double>(visible);
    offers.push_back(offer);
    const double cost = predict_cost(offer.costs, lists, {.keep = offer.kept}, context.visibility,
                                     group_heads, dense_rows)
                            .shadow;
    if (lowest > 0.0 && cost >= lowest) break;  // and so it would go on
    lowest = cost;
  }
  if (offers.empty()) return Choice{wanted(), {}};
  Choice choice{choose_lists(offers, context.visibility, group_heads, dense_rows), {}};
  for (const ShapeOffer& offer : offers) {
    if (offer.lists == choice.lists) choice.kept = offer.kept;
  }
  return choice;
}

void ListChooser::remember(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
                           const Choice& choice) {
  KvHeadMemory& known = memory_.heads(call.layer, call.key.heads)[static_cast<size_t>(kv_head)];
  known.lists = choice.lists;
  known.kept = choice.kept.value_or(known.kept);
  known.chosen_at = visibility.max_visible();
}

void ListChooser::learn(const AttentionCall& call, const Visibility& visibility, int64_t dense_rows,
                        const CallReport& report) {
  if (call.layer < 0) return;
  const int64_t group_heads = call.query.heads / call.key.heads;
  std::vector<KvHeadMemory>& heads = memory_.heads(call.layer, call.key.heads);
  LayerMemory::judge(report.samples, group_heads, options_.attn_error, heads);
  if (report.device.rows == 0 || call.query.rows < options_.rows_per_list || !options_.gate ||
      options_.attn_error == 0.0)
    return;
  const CostModel* model = costs(call, wanted());
  if (model == nullptr) return;
  const ShapeOffer offer{
      wanted(), *model,
      std::clamp(static_cast<double>(report.kept_pairs) / static_cast<double>(report.visible_pairs),
                 kLeastKept, 1.0)};
  for (KvHeadMemory& head : heads) {
    if (!LayerMemory::is_stale(head, visibility.max_visible())) continue;
    head.lists = choose_lists({&offer, 1}, visibility, group_heads, dense_rows);
    head.kept = offer.kept;
    head.chosen_at = visibility.max_visible();
  }
}

}  // namespace shadowattn
