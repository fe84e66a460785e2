#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "common/text.h"
#include "eval/plots.h"
#include "eval/report_parts.h"

namespace shadowattn::tool::eval {
namespace {

using Json = nlohmann::ordered_json;

struct MethodStatistics {
  const MethodTokens* run = nullptr;
  std::string label;  // in tables
  KldStatistics statistics;
  double over_floor = 0;  // mean KLD over that of llama.cpp's own attention
};

struct LengthStatistics {
  const KldLength* run = nullptr;
  std::vector<MethodStatistics> methods;
};

bool is_shadow(const MethodTokens& method) {
  return method.method.config.engine.mode == Mode::kShadow;
}

// Beside other settings of shadow the headline is named after its own.
std::string label_of(const MethodTokens& method, const KldLength& length) {
  const bool several = std::count_if(length.methods.begin(), length.methods.end(), is_shadow) > 1;
  return several && is_shadow(method) ? shadow_at(method.method.config).name : method.method.name;
}

// NaN when llama.cpp's own attention is not among the methods.
double floor_of(const LengthStatistics& length) {
  for (const MethodStatistics& method : length.methods) {
    if (method.run->method.name == kFloor) return method.statistics.kld.value;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

std::vector<LengthStatistics> statistics_of(const std::vector<KldLength>& lengths) {
  std::vector<LengthStatistics> all;
  for (const KldLength& length : lengths) {
    all.push_back({&length, {}});
    std::vector<MethodStatistics>& methods = all.back().methods;
    for (const MethodTokens& method : length.methods) {
      methods.push_back({&method, label_of(method, length), kld_statistics(method.tokens)});
    }
    const double floor = floor_of(all.back());
    for (MethodStatistics& method : methods) {
      method.over_floor = method.statistics.kld.value / floor;
    }
  }
  return all;
}

std::string uncertain(Uncertain value, int decimals, double factor = 1,
                      const std::string& unit = "") {
  return format_fixed(factor * value.value, decimals) + " ± " +
         format_fixed(factor * value.error, decimals) + unit;
}

std::string ratio_text(double ratio) { return std::isfinite(ratio) ? format_fixed(ratio, 2) : "-"; }

Grid overview(const std::vector<LengthStatistics>& lengths) {
  Grid grid;
  grid.header = {"method",   "context",     "tokens",   "kept",       "PPL dense", "PPL",
                 "mean KLD", "KLD x floor", "99 % KLD", "same top p", "RMS Δp"};
  for (const LengthStatistics& length : lengths) {
    for (const auto& [run, label, statistics, over_floor] : length.methods) {
      grid.rows.push_back(
          {label, format_count(length.run->context),
           format_count(static_cast<int64_t>(statistics.tokens)), format_percent(run->kept),
           format_fixed(statistics.reference_ppl.value, 4), format_fixed(statistics.ppl.value, 4),
           small_number(statistics.kld.value), ratio_text(over_floor),
           small_number(statistics.kld_quantiles.p99), fine_percent(statistics.same_top.value),
           fine_percent(statistics.rms_delta_p.value)});
    }
  }
  return grid;
}

// One line of the block that llama-perplexity prints, for every method.
class BlockGrid {
 public:
  explicit BlockGrid(const LengthStatistics& length) : length_(length) {
    grid_.header = {""};
    for (const MethodStatistics& method : length.methods) {
      grid_.header.push_back(method.label);
    }
  }

  template <typename Text>
  void add(const std::string& name, const Text& text) {
    std::vector<std::string> row = {name};
    for (const MethodStatistics& method : length_.methods) row.push_back(text(method.statistics));
    grid_.rows.push_back(std::move(row));
  }

  Grid grid() && { return std::move(grid_); }

 private:
  const LengthStatistics& length_;
  Grid grid_;
};

Section perplexity_section(const LengthStatistics& length) {
  BlockGrid grid(length);
  grid.add("Mean PPL(Q)", [](const KldStatistics& s) { return uncertain(s.ppl, 6); });
  grid.add("Mean PPL(base)", [](const KldStatistics& s) { return uncertain(s.reference_ppl, 6); });
  grid.add("Cor(ln(PPL(Q)), ln(PPL(base)))",
           [](const KldStatistics& s) { return format_fixed(100 * s.correlation, 2) + " %"; });
  grid.add("Mean PPL(Q)/PPL(base)",
           [](const KldStatistics& s) { return uncertain(s.ppl_ratio, 6); });
  grid.add("Mean PPL(Q)-PPL(base)", [](const KldStatistics& s) {
    return format_fixed(s.ppl.value - s.reference_ppl.value, 6);
  });
  return {"Perplexity statistics, context " + format_count(length.run->context), "",
          std::move(grid).grid()};
}

Section kld_section(const LengthStatistics& length) {
  BlockGrid grid(length);
  grid.add("Mean KLD", [](const KldStatistics& s) { return uncertain(s.kld, 6); });
  const std::pair<const char*, double Quantiles::*> lines[] = {
      {"Maximum KLD", &Quantiles::max},   {"99.9 % KLD", &Quantiles::p99_9},
      {"99.0 % KLD", &Quantiles::p99},    {"95.0 % KLD", &Quantiles::p95},
      {"Median KLD", &Quantiles::median}, {"10.0 % KLD", &Quantiles::p10},
      {"5.0 % KLD", &Quantiles::p5},      {"1.0 % KLD", &Quantiles::p1},
      {"Minimum KLD", &Quantiles::min}};
  for (const auto& [name, member] : lines) {
    grid.add(name, [quantile = member](const KldStatistics& s) {
      return format_fixed(s.kld_quantiles.*quantile, 6);
    });
  }
  return {"KL divergence statistics, context " + format_count(length.run->context), "",
          std::move(grid).grid()};
}

Section probability_section(const LengthStatistics& length) {
  BlockGrid grid(length);
  grid.add("Mean Δp", [](const KldStatistics& s) { return uncertain(s.delta_p, 3, 100, " %"); });
  const std::pair<const char*, double Quantiles::*> lines[] = {
      {"Maximum Δp", &Quantiles::max},   {"99.9 % Δp", &Quantiles::p99_9},
      {"99.0 % Δp", &Quantiles::p99},    {"95.0 % Δp", &Quantiles::p95},
      {"90.0 % Δp", &Quantiles::p90},    {"75.0 % Δp", &Quantiles::p75},
      {"Median Δp", &Quantiles::median}, {"25.0 % Δp", &Quantiles::p25},
      {"10.0 % Δp", &Quantiles::p10},    {"5.0 % Δp", &Quantiles::p5},
      {"1.0 % Δp", &Quantiles::p1},      {"0.1 % Δp", &Quantiles::p0_1},
      {"Minimum Δp", &Quantiles::min}};
  for (const auto& [name, member] : lines) {
    grid.add(name, [quantile = member](const KldStatistics& s) {
      return format_fixed(100 * s.delta_p_quantiles.*quantile, 3) + " %";
    });
  }
  grid.add("RMS Δp", [](const KldStatistics& s) { return uncertain(s.rms_delta_p, 3, 100, " %"); });
  grid.add("Same top p",
           [](const KldStatistics& s) { return uncertain(s.same_top, 3, 100, " %"); });
  return {"Token probability statistics, context " + format_count(length.run->context), "",
          std::move(grid).grid()};
}

Section plot_section(const std::string& heading, const std::string& y_title,
                     const std::vector<LengthStatistics>& lengths,
                     double (*value)(const MethodStatistics&)) {
  std::vector<PlotLine> lines;
  for (size_t i = 0; i < lengths.front().methods.size(); ++i) {
    lines.push_back({lengths.front().methods[i].label, {}, {}});
    for (const LengthStatistics& length : lengths) {
      lines.back().x.push_back(static_cast<double>(length.run->context));
      lines.back().y.push_back(value(length.methods[i]));
    }
  }
  Section section;
  section.heading = heading;
  section.picture = line_plot("context, tokens", y_title, lines);
  section.page_only = true;
  return section;
}

Json to_json(const Quantiles& quantiles) {
  return {{"max", quantiles.max},       {"p99_9", quantiles.p99_9}, {"p99", quantiles.p99},
          {"p95", quantiles.p95},       {"p90", quantiles.p90},     {"p75", quantiles.p75},
          {"median", quantiles.median}, {"p25", quantiles.p25},     {"p10", quantiles.p10},
          {"p5", quantiles.p5},         {"p1", quantiles.p1},       {"p0_1", quantiles.p0_1},
          {"min", quantiles.min}};
}

Json to_json(const MethodStatistics& method) {
  const KldStatistics& s = method.statistics;
  return {{"name", method.run->method.name},
          {"config", to_string(method.run->method.config)},
          {"tokens", s.tokens},
          {"kept", method.run->kept},
          {"ppl", s.ppl.value},
          {"ppl_error", s.ppl.error},
          {"ppl_ratio", s.ppl_ratio.value},
          {"ppl_ratio_error", s.ppl_ratio.error},
          {"ppl_correlation", s.correlation},
          {"mean_kld", s.kld.value},
          {"mean_kld_error", s.kld.error},
          {"kld", to_json(s.kld_quantiles)},
          {"mean_delta_p", s.delta_p.value},
          {"mean_delta_p_error", s.delta_p.error},
          {"delta_p", to_json(s.delta_p_quantiles)},
          {"rms_delta_p", s.rms_delta_p.value},
          {"rms_delta_p_error", s.rms_delta_p.error},
          {"same_top_p", s.same_top.value},
          {"same_top_p_error", s.same_top.error},
          {"seconds", method.run->seconds}};
}

Json to_json(const LengthStatistics& length) {
  const KldStatistics& first = length.methods.front().statistics;
  Json json = {{"context", length.run->context},
               {"windows", length.run->windows},
               {"tokens", first.tokens},
               {"ppl_dense", first.reference_ppl.value},
               {"ppl_dense_error", first.reference_ppl.error},
               {"dense_seconds", length.run->reference_seconds}};
  json["methods"] = Json::array();
  for (const MethodStatistics& method : length.methods) json["methods"].push_back(to_json(method));
  return json;
}

Json kld_json(const EvalFacts& facts, const std::vector<LengthStatistics>& lengths) {
  Json json = start_json(facts);
  for (const MethodStatistics& method : lengths.back().methods) {
    if (method.run->method.name != kHeadline) continue;
    json["mean_kld"] = method.statistics.kld.value;
    if (const double floor = floor_of(lengths.back()); std::isfinite(floor)) {
      json["floor_kld"] = floor;
    }
    json["same_top_p"] = method.statistics.same_top.value;
    json["ppl_dense"] = method.statistics.reference_ppl.value;
    json["ppl_shadow"] = method.statistics.ppl.value;
    json["kept"] = method.run->kept;
  }
  json["lengths"] = Json::array();
  for (const LengthStatistics& length : lengths) json["lengths"].push_back(to_json(length));
  return json;
}

}  // namespace

Report kld_report(const EvalFacts& facts, const std::vector<KldLength>& lengths) {
  const std::vector<LengthStatistics> all = statistics_of(lengths);
  Report report;
  report.page = start_page("KL divergence from dense attention", facts);
  report.page.sections.push_back(
      {"",
       "Rows of the second half of each context are scored. PPL dense: of the reference, f32 and "
       "every token.\n"
       "llama.cpp is the floor: its own attention to every token, which differs from the reference "
       "by rounding alone; a mean KLD means something only beside it (KLD x floor).",
       overview(all)});
  report.page.sections.push_back(
      plot_section("Mean KL divergence", "mean KLD, nats", all,
                   [](const MethodStatistics& m) { return m.statistics.kld.value; }));
  report.page.sections.push_back(
      plot_section("Tokens kept", "share of the visible tokens, %", all,
                   [](const MethodStatistics& m) { return 100 * m.run->kept; }));
  report.page.sections.push_back(perplexity_section(all.back()));
  report.page.sections.push_back(kld_section(all.back()));
  report.page.sections.push_back(probability_section(all.back()));
  report.json = kld_json(facts, all);
  return report;
}

}  // namespace shadowattn::tool::eval
