#include "simulate/simulate_json.h"

namespace shadowattn::tool::simulate {
namespace {

using nlohmann::json;

json stages_json(const PrefillStages& stages) {
  json result = json::object();
  for (const PrefillStage& stage : kPrefillStages) result[stage.key] = stages.*stage.ns / 1e6;
  result["total_ms"] = stages.total_ns() / 1e6;
  return result;
}

json prediction_json(const Prediction& prediction) {
  return {{"ttft_ms", prediction.ttft_ns() / 1e6},
          {"prompt", stages_json(prediction.prompt)},
          {"dense_layer", stages_json(prediction.dense_layer)},
          {"sparse_layer", stages_json(prediction.sparse_layer)},
          {"dense_layers", prediction.dense_layers},
          {"sparse_layers", prediction.sparse_layers},
          {"sparse_share", prediction.sparse_share},
          {"chunks", prediction.chunks},
          {"npu",
           {{"launches", prediction.npu.launches},
            {"launch_ms", prediction.npu.launch_ns / 1e6},
            {"pilot_ms", prediction.npu.pilot_ns / 1e6}}},
          {"extrapolations", prediction.extrapolations}};
}

json way_json(const SimulatedWay& way) {
  json result = prediction_json(way.prediction);
  const PrefillOptions& o = way.options;
  result["name"] = way.name;
  result["attention"] = name_of(o.attention);
  result["options"] = {{"context", o.context},
                       {"chunk", o.chunk},
                       {"keep", o.keep},
                       {"dense_layers", o.dense_layers},
                       {"pilot", name_of(o.pilot)},
                       {"launches", name_of(o.launches)},
                       {"pipeline", name_of(o.pipeline)},
                       {"core", name_of(o.core)},
                       {"cores", o.cores},
                       {"dense_cores", o.dense_cores},
                       {"npu_speed", o.npu_speed}};
  if (o.launch_ms >= 0) result["options"]["launch_ms"] = o.launch_ms;
  if (o.fuse_heads > 0) result["options"]["fuse_heads"] = o.fuse_heads;
  return result;
}

json soc_json(const SocModel& soc) {
  json figures = json::array();
  for (const SourcedFigure& figure : soc.figures) {
    figures.push_back({{"group", figure.group},
                       {"name", figure.name},
                       {"value", figure.value},
                       {"unit", figure.unit},
                       {"origin", origin_name(figure.origin())},
                       {"source", figure.source}});
  }
  return {{"name", soc.name}, {"figures", figures}};
}

json shape_json(const ModelShape& shape) {
  return {{"name", shape.name},   {"layers", shape.layers},     {"hidden", shape.hidden},
          {"heads", shape.heads}, {"kv_heads", shape.kv_heads}, {"head_dim", shape.head_dim},
          {"ffn", shape.ffn},     {"vocab", shape.vocab},       {"parameters", shape.parameters()}};
}

json summary_json(const std::vector<TtftComparison>& rows, RowKind kind) {
  const ErrorSummary summary = summarise(rows, kind);
  return {{"rows", summary.rows},
          {"mean_absolute_error", summary.mean_absolute},
          {"largest_error", summary.largest}};
}

json published_json(const std::vector<TtftComparison>& rows) {
  json result = {{"source", kPublishedTtftSource},
                 {"fitted", summary_json(rows, RowKind::kFitted)},
                 {"predicted", summary_json(rows, RowKind::kPredicted)},
                 {"rows", json::array()}};
  for (const TtftComparison& row : rows) {
    result["rows"].push_back({{"model", row.model},
                              {"tokens", row.tokens},
                              {"attention", name_of(row.attention)},
                              {"predicted_ms", row.predicted_ms},
                              {"published_ms", row.published_ms},
                              {"error", row.error()},
                              {"fitted", row.fitted},
                              {"throttled", row.throttled},
                              {"note", row.note}});
  }
  return result;
}

json speedups_json(const std::vector<SpeedupComparison>& rows) {
  json result = json::array();
  for (const SpeedupComparison& row : rows) {
    result.push_back({{"what", row.what},
                      {"predicted", row.predicted},
                      {"published", row.published},
                      {"error", row.error()},
                      {"source", row.source},
                      {"note", row.note}});
  }
  return result;
}

json plan_json(const Plan& plan) {
  json result = {{"lengths", plan.lengths}, {"cases", json::array()}, {"changes", json::array()}};
  for (const PlanCase& one : plan.cases) {
    json entry = prediction_json(one.prediction);
    entry["model"] = one.model;
    entry["tokens"] = one.tokens;
    entry["npu_speed"] = one.npu_speed;
    entry["dense_ttft_ms"] = one.dense_ns / 1e6;
    entry["cpu_pilot_ttft_ms"] = one.cpu_pilot_ns / 1e6;
    entry["speedup_over_dense"] = one.speedup_over_dense();
    entry["speedup_over_cpu_pilot"] = one.speedup_over_cpu_pilot();
    result["cases"].push_back(entry);
  }
  for (const PlanChange& change : plan.changes) {
    json ratios = json::array();
    for (const double ratio : change.ttft_ratios) {
      ratios.push_back(ratio > 0 ? json(ratio) : json(nullptr));
    }
    result["changes"].push_back({{"what", change.what}, {"ttft_ratios", ratios}});
  }
  return result;
}

}  // namespace

json simulate_json(const SocModel& soc, const ModelShape& shape,
                   const std::vector<SimulatedWay>& ways,
                   const std::vector<TtftComparison>& published,
                   const std::vector<SpeedupComparison>& speedups, const Plan* plan) {
  json result = {{"kind", "prediction; nothing ran on a phone"},
                 {"soc", soc_json(soc)},
                 {"model", shape_json(shape)},
                 {"ways", json::array()}};
  for (const SimulatedWay& way : ways) result["ways"].push_back(way_json(way));
  if (!published.empty()) result["published"] = published_json(published);
  if (!speedups.empty()) result["speedups"] = speedups_json(speedups);
  if (plan != nullptr) result["plan"] = plan_json(*plan);
  return result;
}

}  // namespace shadowattn::tool::simulate
