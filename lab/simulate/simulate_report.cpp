#include "simulate/simulate_report.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/summary.h"
#include "common/text.h"

namespace shadowattn::tool::simulate {
namespace {

std::string milliseconds(double ns) {
  if (ns == 0) return "-";
  const double ms = ns / 1e6;
  return ms >= 1000 ? format_count(std::llround(ms)) : format_fixed(ms, ms < 10 ? 2 : 1);
}

std::string signed_percent(double share) {
  return (share < 0 ? "" : "+") + format_fixed(share * 100, 1) + " %";
}

std::string factor(double value) { return format_fixed(value, value < 10 ? 2 : 1) + "x"; }

std::string rows_text(int64_t rows, const char* what) {
  return format_count(rows) + " " + what + (rows == 1 ? " row" : " rows");
}

std::string summary_line(const char* what, const ErrorSummary& summary) {
  if (summary.rows == 0) return "";
  return rows_text(summary.rows, what) + ": " + format_percent(summary.mean_absolute) +
         " off on the mean, at most " + signed_percent(summary.largest) + "\n";
}

/// Those that a prediction depends on.
std::vector<SourcedFigure> rates_of(const SocModel& soc) {
  std::vector<SourcedFigure> rates;
  for (const SourcedFigure& figure : soc.figures) {
    if (figure.group != "limits") rates.push_back(figure);
  }
  return rates;
}

std::string cases_table(const Plan& plan) {
  Table table;
  table.add_row({"model", "tokens", "NPU", "TTFT s", "linear", "dense layers", "select", "attend",
                 "waiting", "over dense", "over CPU estimate", ""});
  table.align_right_from(1);
  for (const PlanCase& one : plan.cases) {
    const PrefillStages& stages = one.prediction.prompt;
    const auto share = [&](double ns) { return format_percent(ns / stages.total_ns()); };
    table.add_row({one.model, format_count(one.tokens), factor(one.npu_speed),
                   format_fixed(stages.total_ns() / 1e9, 1), share(stages.linear_ns),
                   share(stages.dense_attention_ns), share(stages.select_ns),
                   share(stages.attend_ns), share(stages.waiting_ns),
                   factor(one.speedup_over_dense()), factor(one.speedup_over_cpu_pilot()),
                   one.prediction.extrapolations.empty() ? "" : "*"});
  }
  return table.text();
}

std::string changes_table(const Plan& plan) {
  Table table;
  std::vector<std::string> header = {"time to first token with"};
  for (const int64_t tokens : plan.lengths) header.push_back(format_count(tokens) + " tokens");
  table.add_row(header);
  table.align_right_from(1);
  for (const PlanChange& change : plan.changes) {
    std::vector<std::string> row = {change.what};
    for (const double ratio : change.ttft_ratios) {
      row.push_back(ratio > 0 ? signed_percent(ratio - 1) : "-");
    }
    table.add_row(row);
  }
  return table.text();
}

}  // namespace

std::string stages_table(const std::vector<SimulatedWay>& ways) {
  Table table;
  table.align_right_from(1);
  const auto add = [&](const std::string& title, const auto& cell) {
    std::vector<std::string> row = {title};
    for (const SimulatedWay& way : ways) row.push_back(cell(way));
    table.add_row(std::move(row));
  };
  add("ms", [](const SimulatedWay& way) { return way.name; });
  for (const PrefillStage& stage : kPrefillStages) {
    add(stage.title,
        [&](const SimulatedWay& way) { return milliseconds(way.prediction.prompt.*stage.ns); });
  }
  add("time to first token",
      [](const SimulatedWay& way) { return milliseconds(way.prediction.ttft_ns()); });
  add("NPU beside it: launching",
      [](const SimulatedWay& way) { return milliseconds(way.prediction.npu.launch_ns); });
  add("NPU beside it: pilot",
      [](const SimulatedWay& way) { return milliseconds(way.prediction.npu.pilot_ns); });
  add("launches", [](const SimulatedWay& way) {
    return format_count(static_cast<int64_t>(way.prediction.npu.launches));
  });
  return table.text();
}

std::string layer_table(const Prediction& prediction) {
  Table table;
  table.align_right_from(1);
  table.add_row({"ms", "a sparse layer", "a dense layer", "the prompt"});
  table.add_row({"layers", format_count(prediction.sparse_layers),
                 format_count(prediction.dense_layers),
                 format_count(prediction.sparse_layers + prediction.dense_layers)});
  for (const PrefillStage& stage : kPrefillStages) {
    table.add_row({stage.title, milliseconds(prediction.sparse_layer.*stage.ns),
                   milliseconds(prediction.dense_layer.*stage.ns),
                   milliseconds(prediction.prompt.*stage.ns)});
  }
  table.add_row({"sum", milliseconds(prediction.sparse_layer.total_ns()),
                 milliseconds(prediction.dense_layer.total_ns()),
                 milliseconds(prediction.prompt.total_ns())});
  const auto add_npu = [&](const char* title, double ns) {
    const auto layers = static_cast<double>(std::max<int64_t>(prediction.sparse_layers, 1));
    table.add_row({title, milliseconds(ns / layers), milliseconds(0), milliseconds(ns)});
  };
  add_npu("NPU beside it: launching", prediction.npu.launch_ns);
  add_npu("NPU beside it: pilot", prediction.npu.pilot_ns);
  return table.text();
}

std::string published_table(const std::vector<TtftComparison>& rows) {
  if (rows.empty()) return "";
  Table table;
  table.align_right_from(3);
  table.add_row({"model", "attention", "", "tokens", "predicted ms", "published ms", "error"});
  for (const TtftComparison& row : rows) {
    const std::string note = row.fitted ? "fitted" : row.note;
    table.add_row({row.model, name_of(row.attention), note, format_count(row.tokens),
                   format_count(std::llround(row.predicted_ms)),
                   format_count(std::llround(row.published_ms)), signed_percent(row.error())});
  }
  return table.text();
}

std::string speedup_table(const std::vector<SpeedupComparison>& rows) {
  if (rows.empty()) return "";
  Table table;
  table.align_right_from(1);
  table.add_row({"dense over sparse", "predicted", "published", "error"});
  for (const SpeedupComparison& row : rows) {
    table.add_row(
        {row.what, factor(row.predicted), factor(row.published), signed_percent(row.error())});
  }
  return table.text();
}

std::string error_text(const std::vector<TtftComparison>& rows) {
  std::string text = summary_line("fitted", summarise(rows, RowKind::kFitted)) +
                     summary_line("predicted", summarise(rows, RowKind::kPredicted));
  for (const TtftComparison& row : rows) {
    if (!row.throttled) continue;
    text += "left out, throttled by the source's own note: " + row.model + " dense at " +
            format_count(row.tokens) + " tokens, " + signed_percent(row.error()) + "\n";
  }
  return text;
}

std::string origins_text(const SocModel& soc) {
  std::string text;
  for (const Origin origin : {Origin::kPublished, Origin::kFitted, Origin::kAssumed}) {
    const std::vector<SourcedFigure> rates = rates_of(soc);
    const auto count = std::count_if(rates.begin(), rates.end(), [&](const SourcedFigure& figure) {
      return figure.origin() == origin;
    });
    text += (text.empty() ? "" : ", ") + format_count(count) + " " + origin_name(origin);
  }
  return text;
}

std::string figures_table(const SocModel& soc) {
  Table table;
  table.add_row({"figure", "value", "", "origin"});
  for (const SourcedFigure& figure : rates_of(soc)) {
    std::string value = format_fixed(figure.value, 2);
    while (value.back() == '0') value.pop_back();
    if (value.back() == '.') value.pop_back();
    table.add_row(
        {figure.group + "." + figure.name, value, figure.unit, origin_name(figure.origin())});
  }
  return table.text();
}

std::string plan_text(const Plan& plan) {
  return cases_table(plan) +
         "* extrapolated: no published time is of so many tokens, so large a model or such an NPU\n"
         "over dense: over the published code's dense attention, which is not fused; over CPU\n"
         "estimate: over an estimate in float on the CPU, as in the paper\n\n" +
         changes_table(plan);
}

}  // namespace shadowattn::tool::simulate
