#include "common/summary.h"

#include <sys/resource.h>

#include <algorithm>
#include <set>

#include "common/text.h"

namespace shadowattn::tool {
namespace {

using nlohmann::json;

// {0, 1, 2, 5} -> "layers 0-2, 5"
std::string layer_list(const std::set<int>& layers) {
  if (layers.empty()) return "layers unknown";
  std::string text;
  for (auto it = layers.begin(); it != layers.end();) {
    const int first = *it;
    int last = first;
    while (++it != layers.end() && *it == last + 1) last = *it;
    if (!text.empty()) text += ", ";
    text += std::to_string(first);
    if (last > first) text.append("-").append(std::to_string(last));
  }
  return (layers.size() == 1 ? "layer " : "layers ") + text;
}

double seconds_of(const json& object, const char* key) { return object.value(key, 0.0) / 1000; }

json member(const json& object, const char* key, const json& fallback) {
  return object.is_object() && object.contains(key) ? object.at(key) : fallback;
}

std::string attention_settings(const RunFigures& figures, const json& report) {
  if (figures.mode == "off") return "llama.cpp's own";
  if (figures.mode == "dense") return "dense: exact, by shadowattn's kernels";
  const json& config = report["config"];
  std::string text = "shadow";
  const double output_error = config.value("output_error", 0.0);
  if (output_error > 0) {
    return text + ", relative output error " + format_fixed(100 * output_error, 1) + " % a layer";
  }
  const double error = config.value("attn_error", 0.0);
  const double keep = config.value("keep", 0.0);
  if (error > 0) text += ", may lose " + format_fixed(100 * error, 1) + " % of attention mass";
  if (error == 0 || keep < 1) text += ", keep " + format_fixed(keep, 2);
  return text;
}

void add_prompt_rows(const RunFigures& figures, Table& table) {
  std::string prompt = format_count(figures.prompt_tokens) + " tokens";
  if (figures.processed_tokens < figures.prompt_tokens) {
    prompt += ", stopped after " + format_count(figures.processed_tokens);
  }
  table.add_row({"prompt", prompt});
  if (figures.first_token_seconds >= 0) {
    table.add_row({"first token after", format_seconds(figures.first_token_seconds)});
  }
  if (figures.prefill_seconds > 0) {
    table.add_row({"prefill", format_rate(figures.prefill_rate()) + " tokens/s"});
  }
  if (figures.answer_tokens > 0) {
    std::string answer = format_count(figures.answer_tokens) + " tokens";
    if (figures.answer_tokens > 1)
      answer += ", " + format_rate(figures.decode_rate()) + " tokens/s";
    table.add_row({"answer", answer});
  }
}

// Of the output, or of attention mass, by the rows that were compared with exact attention; "" when
// none were.
std::string lost_mass(const json& report) {
  const json quality = member(member(report, "totals", json()), "quality", json());
  if (!quality.is_object()) return "";
  if (const double error = quality.value("output_error", 0.0); error > 0) {
    return format_percent(error) + " of a layer's output, the estimate says " +
           format_percent(member(report, "totals", json()).value("output_error_predicted", 0.0)) +
           "; in " + format_count(quality.value("sampled_rows", int64_t{0})) +
           " sampled sparse rows";
  }
  return format_percent(quality.value("lost_mean", 0.0)) + " of attention mass, worst " +
         format_percent(quality.value("lost_worst", 0.0)) + ", in " +
         format_count(quality.value("sampled_rows", int64_t{0})) + " sampled sparse rows";
}

void add_attention_rows(const RunFigures& figures, const json& report, Table& table) {
  table.add_row({"attention", attention_settings(figures, report)});
  if (figures.mode == "off") return;
  const AttentionTotals totals = attention_totals(report);
  if (totals.calls == 0) {
    table.add_row({"", "the plug-in computed nothing; llama.cpp attended densely"});
  } else {
    table.add_row({"kept", format_percent(totals.kept_share()) + " of what the rows may see, in " +
                               format_count(totals.calls) + " calls"});
    if (std::string lost = lost_mass(report); !lost.empty()) table.add_row({"lost", lost});
    table.add_row({"time, all threads", "pilot " + format_seconds(totals.pilot_seconds) +
                                            ", select " + format_seconds(totals.select_seconds) +
                                            ", attend " + format_seconds(totals.attend_seconds)});
  }
  for (std::vector<std::string>& row : dense_rows(report)) table.add_row(std::move(row));
}

}  // namespace

std::vector<std::string> Table::rendered(const std::vector<size_t>& widths) const {
  std::vector<std::string> lines;
  for (const std::vector<std::string>& row : rows_) {
    std::string line;
    for (size_t column = 0; column < row.size(); ++column) {
      const std::string padding(widths[column] - display_width(row[column]), ' ');
      if (column > 0) line += "  ";
      line += column >= first_right_ ? padding + row[column] : row[column] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string Table::text() const {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()), 0);
    for (size_t column = 0; column < row.size(); ++column) {
      widths[column] = std::max(widths[column], display_width(row[column]));
    }
  }
  std::string text;
  for (const std::string& line : rendered(widths)) text += line + "\n";
  return text;
}

double RunFigures::prefill_rate() const {
  return prefill_seconds > 0 ? static_cast<double>(processed_tokens) / prefill_seconds : 0;
}

double RunFigures::decode_rate() const {
  return decode_seconds > 0 ? static_cast<double>(answer_tokens - 1) / decode_seconds : 0;
}

double AttentionTotals::kept_share() const {
  return visible_pairs > 0 ? static_cast<double>(kept_pairs) / static_cast<double>(visible_pairs)
                           : 1.0;
}

AttentionTotals attention_totals(const json& report) {
  const json totals = member(report, "totals", json::object());
  return {.calls = totals.value("calls", int64_t{0}),
          .visible_pairs = totals.value("visible_pairs", int64_t{0}),
          .kept_pairs = totals.value("kept_pairs", int64_t{0}),
          .dense_calls = totals.value("dense_calls", int64_t{0}),
          .dense_reasons = totals.value("dense_reasons", std::map<std::string, int64_t>()),
          .pilot_seconds = seconds_of(totals, "pilot_ms"),
          .select_seconds = seconds_of(totals, "select_ms"),
          .attend_seconds = seconds_of(totals, "attend_ms"),
          .wall_seconds = seconds_of(totals, "wall_ms"),
          .cpu_seconds = seconds_of(totals, "cpu_ms")};
}

std::vector<std::vector<std::string>> dense_rows(const json& report) {
  struct Dense {
    int64_t calls = 0;
    std::set<int> layers;
  };
  std::map<std::string, Dense> reasons;
  const json layers = member(report, "layers", json::array());
  for (const json& layer : layers) {
    const json dense_reasons = member(layer, "dense_reasons", json::object());
    for (const auto& [reason, count] : dense_reasons.items()) {
      reasons[reason].calls += count.get<int64_t>();
      reasons[reason].layers.insert(layer.value("layer", -1));
    }
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& [reason, dense] : reasons) {
    rows.push_back({"dense", layer_list(dense.layers) + ", " + format_count(dense.calls) +
                                 " calls: " + reason});
  }
  const json declined = member(report, "declined", json::array());
  for (const json& decline : declined) {
    const auto numbers = member(decline, "layers", json::array()).get<std::set<int>>();
    rows.push_back({"left to llama.cpp", layer_list(numbers) + ": " + decline.value("reason", "")});
  }
  const std::string note = member(report, "note", "").get<std::string>();
  if (!note.empty()) rows.push_back({"note", note});
  return rows;
}

int64_t peak_memory_bytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

std::string run_summary(const RunFigures& figures, const json& report) {
  Table table;
  add_prompt_rows(figures, table);
  add_attention_rows(figures, report, table);
  table.add_row({"peak memory", format_bytes(peak_memory_bytes())});
  return table.text();
}

std::string json_text(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace);
}

json run_report(const RunFigures& figures, const json& report) {
  json result = report.is_object() ? report : json::object();
  json& run = result["run"] = json::object();
  run["model"] = figures.model;
  run["mode"] = figures.mode;
  run["threads"] = figures.threads;
  run["context_tokens"] = figures.context_tokens;
  run["prompt_tokens"] = figures.prompt_tokens;
  run["answer_tokens"] = figures.answer_tokens;
  run["load_s"] = figures.load_seconds;
  run["ttft_s"] = figures.first_token_seconds;
  run["prefill_s"] = figures.prefill_seconds;
  run["prefill_tokens_per_s"] = figures.prefill_rate();
  run["decode_s"] = figures.decode_seconds;
  run["decode_tokens_per_s"] = figures.decode_rate();
  run["peak_memory_bytes"] = peak_memory_bytes();
  return result;
}

}  // namespace shadowattn::tool
