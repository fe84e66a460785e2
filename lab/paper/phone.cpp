// The published times of a phone beside what the SoC model predicts: `shadowattn-lab simulate`.

#include "paper/experiments.h"

#include "common/files.h"
#include "common/text.h"
#include "simulate/published_ttft.h"

namespace shadowattn::tool::paper {
namespace {

using namespace simulate;

constexpr std::array kSocs = {"snapdragon-8gen3", "snapdragon-8gen2"};

Json row_json(const TtftComparison& row) {
  return {{"model", row.model},
          {"tokens", row.tokens},
          {"attention", name_of(row.attention)},
          {"predicted_ms", row.predicted_ms},
          {"published_ms", row.published_ms},
          {"fitted", row.fitted},
          {"throttled", row.throttled}};
}

Json summary_json(const ErrorSummary& summary) {
  return {{"rows", summary.rows},
          {"mean_absolute_error", summary.mean_absolute},
          {"largest_error", summary.largest}};
}

Json predict(const std::string& name) {
  const SocModel soc = load_soc_model(data_file("soc/" + name + ".json").string());
  const std::vector<TtftComparison> rows = compare_with_published(soc);
  Json values = {{"soc", soc.name},
                 {"rows", Json::array()},
                 {"fitted", summary_json(summarise(rows, RowKind::kFitted))},
                 {"predicted", summary_json(summarise(rows, RowKind::kPredicted))},
                 {"speedups", Json::array()}};
  for (const TtftComparison& row : rows) values["rows"].push_back(row_json(row));
  for (const SpeedupComparison& speedup : compare_paper_speedups(soc)) {
    values["speedups"].push_back({{"what", speedup.what},
                                  {"predicted", speedup.predicted},
                                  {"published", speedup.published},
                                  {"source", speedup.source}});
  }
  return values;
}

std::vector<Part> parts(const Workbench& /*workbench*/) {
  std::vector<Part> all;
  all.reserve(kSocs.size());
  for (const char* name : kSocs) {
    all.push_back(
        {name, name, 0.1, [name](const Workbench& /*workbench*/) { return predict(name); }});
  }
  return all;
}

std::string signed_percent(double error) {
  return (error < 0 ? "" : "+") + format_fixed(100 * error, 1) + " %";
}

std::string row_kind(const Json& row) {
  if (row.at("throttled").get<bool>()) return "throttled";
  return row.at("fitted").get<bool>() ? "fitted" : "predicted";
}

eval::Grid ttft_grid(const Json& rows) {
  eval::Grid grid;
  grid.header = {"model", "tokens", "attention", "published, ms", "model says, ms", "error", ""};
  for (const Json& row : rows) {
    const auto predicted = row.at("predicted_ms").get<double>();
    const auto published = row.at("published_ms").get<double>();
    grid.rows.push_back(
        {row.at("model").get<std::string>(), format_count(row.at("tokens").get<int64_t>()),
         row.at("attention").get<std::string>(), format_fixed(published, 0),
         format_fixed(predicted, 0), signed_percent(predicted / published - 1), row_kind(row)});
  }
  return grid;
}

eval::Grid speedup_grid(const Json& speedups) {
  eval::Grid grid;
  grid.header = {"dense over sparse", "published", "predicted", "error"};
  for (const Json& row : speedups) {
    const auto predicted = row.at("predicted").get<double>();
    const auto published = row.at("published").get<double>();
    grid.rows.push_back({row.at("what").get<std::string>(), format_fixed(published, 2),
                         format_fixed(predicted, 2), signed_percent(predicted / published - 1)});
  }
  return grid;
}

std::string error_text(const Json& summary) {
  return format_fixed(100 * summary.at("mean_absolute_error").get<double>(), 1) +
         " % off on the mean, at most " +
         signed_percent(summary.at("largest_error").get<double>()) + " (" +
         std::to_string(summary.at("rows").get<int64_t>()) + " rows)";
}

void add_ttft(const Json& values, Chapter* chapter) {
  if (values.at("rows").empty()) return;
  const Json& predicted = values.at("predicted");
  chapter->claims.push_back({"Time to the first token, by the SoC model",
                             "1,462 to 64,306 ms (three models, 1K to 4K tokens)",
                             kPublishedTtftSource, error_text(predicted),
                             "a prediction; which rows it cannot explain: docs/simulate.md"});
  eval::Section section;
  section.heading = values.at("soc").get<std::string>() + ": time to the first token";
  section.note = std::string("Published: ") + kPublishedTtftSource +
                 ". Rows marked fitted were used to find rates that nobody published: " +
                 error_text(values.at("fitted")) +
                 ". Rows marked predicted were not: " + error_text(predicted) +
                 ". Throttled: by the source's own note, and left out of the errors.";
  section.grid = ttft_grid(values.at("rows"));
  chapter->sections.push_back(std::move(section));
}

Chapter write(const Findings& findings) {
  Chapter chapter;
  for (const auto& [part, finding] : findings) {
    add_ttft(finding.values, &chapter);
    if (finding.values.at("speedups").empty()) continue;
    eval::Section section;
    section.heading = finding.values.at("soc").get<std::string>() + ": speedups";
    section.note =
        "With the paper's settings: one middle core, compiled graphs, all layers sparse. What is "
        "far "
        "off is unexplained; docs/simulate.md says what was tried.";
    section.grid = speedup_grid(finding.values.at("speedups"));
    chapter.sections.push_back(std::move(section));
  }
  return chapter;
}

}  // namespace

Experiment phone_experiment() {
  return {"phone",
          "What the phone of the paper would do, by a model of it",
          "latency figures and the reference implementation's table",
          "Predicted by equations from the figures in soc/, each of which is published, fitted or "
          "assumed and says so (docs/simulate.md). Nothing ran on a phone. The command `shadowattn "
          "simulate` has more: stages, other models, longer prompts, faster NPUs.",
          parts,
          write};
}

}  // namespace shadowattn::tool::paper
