#include "paper/prefill_chapter.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "common/statistics.h"
#include "common/text.h"
#include "eval/plots.h"
#include "paper/published.h"
#include "paper/timing_values.h"

namespace shadowattn::tool::paper {
namespace {

constexpr char kSource[] = "end-to-end latency, Xiaomi 14";
constexpr char kPlanned[] = "shadow-0.2-npu-planned";

struct Named {
  const char* id;
  const char* label;
};
constexpr std::array kMethods = {
    Named{"llama", "llama.cpp (C/G-Full)"},
    Named{"dense", "dense, ours"},
    Named{"shadow", "shadow, default dial"},
    Named{"shadow-0.2", "shadow, 20 % kept"},
    Named{"shadow-0.2-npu-off", "shadow, 20 %, npu-sim, no pipeline"},
    Named{"shadow-0.2-npu-fifo", "shadow, 20 %, npu-sim, pipeline in order"},
    Named{kPlanned, "shadow, 20 %, npu-sim, planned order"},
};

bool whole_prompt(const Json& values) {
  return values.value("length", 0) == values.value("tokens", -1);
}

std::string length_text(const Json& values) {
  const std::string length = format_count(values.value("length", int64_t{0}));
  return whole_prompt(values) ? length : "end of " + length;
}

std::string share_text(double share) { return std::isfinite(share) ? format_percent(share) : "-"; }

using Cell = std::string (*)(const Json& values, const std::string& setup,
                             const std::string& method);

std::string rate_cell(const Json& values, const std::string& setup, const std::string& method) {
  const double rate = figure(values, setup, method, "tokens_per_second");
  if (!std::isfinite(rate)) return "-";
  return format_rate(rate) + " (" + ratio_text(figure(values, setup, method, "llama_ratio")) + ")";
}

std::string core_cell(const Json& values, const std::string& setup, const std::string& method) {
  const double seconds = figure(values, setup, method, "cpu_s_per_1k");
  return std::isfinite(seconds) ? format_fixed(seconds, 3) : "-";
}

std::string attention_cell(const Json& values, const std::string& setup,
                           const std::string& method) {
  return share_text(figure(values, setup, method, "attention_share"));
}

eval::Grid grid_of(const Findings& findings, const std::string& setup, Cell cell) {
  eval::Grid grid;
  grid.header = {"attention"};
  for (const auto& [id, finding] : findings) grid.header.push_back(length_text(finding.values));
  for (const Named& method : kMethods) {
    std::vector<std::string> row = {method.label};
    for (const auto& [id, finding] : findings) {
      row.push_back(cell(finding.values, setup, method.id));
    }
    const bool empty = std::all_of(row.begin() + 1, row.end(),
                                   [](const std::string& text) { return text == "-"; });
    if (!empty) grid.rows.push_back(std::move(row));
  }
  return grid;
}

std::string picture(const Findings& findings, const std::string& setup) {
  std::vector<eval::PlotLine> lines;
  for (const Named& method : kMethods) {
    eval::PlotLine line{method.label, {}, {}};
    for (const auto& [id, finding] : findings) {
      line.x.push_back(finding.values.value("length", 0.0));
      line.y.push_back(figure(finding.values, setup, method.id, "llama_ratio"));
    }
    const bool some = std::any_of(line.y.begin(), line.y.end(),
                                  [](double ratio) { return std::isfinite(ratio); });
    if (some) lines.push_back(std::move(line));
  }
  if (lines.empty() || findings.size() < 2) return "";
  return eval::line_plot("tokens", "times as fast as llama.cpp", lines);
}

// Which of our calls were not sparse, and what the device left to the CPU.
std::string notes(const Findings& findings, const std::string& setup) {
  std::string text;
  for (const auto& [id, finding] : findings) {
    const Json* found = find_setup(finding.values, setup);
    if (found == nullptr) continue;
    for (const Json& method : found->value("methods", Json::array())) {
      const auto device = method.find("device");
      if (device == method.end()) continue;
      const Json reasons = device->value("notes", Json::object());
      for (const auto& [note, calls] : reasons.items()) {
        text += "\n" + length_text(finding.values) + " tokens, " + method.value("id", "") + ": " +
                note + " (" + std::to_string(calls.get<int64_t>()) + " calls).";
      }
    }
  }
  return text;
}

void add_sections(const Findings& findings, const std::string& setup, Chapter& chapter) {
  const Json* any = nullptr;
  for (const auto& [id, finding] : findings) {
    any = any != nullptr ? any : find_setup(finding.values, setup);
  }
  if (any == nullptr) return;
  const std::string where = any->value("label", "");
  eval::Section rates;
  rates.heading = "Tokens per second, " + where;
  rates.note = "In brackets: times as fast as llama.cpp, pair by pair." + notes(findings, setup);
  rates.picture = picture(findings, setup);
  rates.grid = grid_of(findings, setup, rate_cell);
  chapter.sections.push_back(std::move(rates));
  eval::Section cores;
  cores.heading = "Core-seconds per 1000 tokens, " + where;
  cores.note = "Processor time of the process, without that spent playing npu-sim.";
  cores.grid = grid_of(findings, setup, core_cell);
  chapter.sections.push_back(std::move(cores));
  eval::Section attention;
  attention.heading = "Attention's share of the time, " + where;
  attention.note =
      "Of ours by the plug-in's clock; of llama.cpp's the processor time that is left when what "
      "our "
      "columns spend outside attention is taken away.";
  attention.grid = grid_of(findings, setup, attention_cell);
  chapter.sections.push_back(std::move(attention));
}

std::string remark(const Findings& findings, double mean_here) {
  if (!std::isfinite(mean_here)) return "needs a second core for npu-sim";
  if (mean_here >= published::kEndToEndSpeedupMean) return "";
  const Json* longest = nullptr;
  for (const auto& [id, finding] : findings) {
    if (whole_prompt(finding.values)) longest = &finding.values;
  }
  if (longest == nullptr) return "unexplained";
  const double share = figure(*longest, kOneCore, "llama", "attention_share");
  std::string text = "attention is " + share_text(share) + " of llama.cpp's time at " +
                     length_text(*longest) + " tokens with this model: without any, reading were " +
                     ratio_text(most_speedup(share)) + " times as fast";
  const double cpu = figure(*longest, kOneCore, "shadow-0.2", "llama_ratio");
  const double npu = figure(*longest, kOneCore, kPlanned, "llama_ratio");
  if (cpu > npu) text += "; estimating on the CPU is faster here than with npu-sim";
  return text;
}

void add_claim(const Findings& findings, Chapter& chapter) {
  std::vector<double> ratios;
  for (const auto& [id, finding] : findings) {
    const double ratio = figure(finding.values, kOneCore, kPlanned, "llama_ratio");
    if (whole_prompt(finding.values) && std::isfinite(ratio)) ratios.push_back(ratio);
  }
  const double mean =
      ratios.empty() ? std::numeric_limits<double>::quiet_NaN() : statistics(ratios).mean;
  const std::string here =
      ratios.empty() ? "not measured"
                     : "up to " + ratio_text(statistics(ratios).max) + ", mean " + ratio_text(mean);
  chapter.claims.push_back(
      {"A whole prompt, 20 % kept, one core and the NPU (here npu-sim): times "
       "as fast as C/G-Full (llama.cpp)",
       "up to " + ratio_text(published::kEndToEndSpeedupMost) + ", mean " +
           ratio_text(published::kEndToEndSpeedupMean),
       kSource, here, remark(findings, mean)});
}

}  // namespace

double most_speedup(double attention_share) {
  return attention_share < 1 ? 1 / (1 - attention_share) : std::numeric_limits<double>::infinity();
}

Chapter prefill_chapter(const Findings& findings) {
  Chapter chapter;
  if (findings.empty()) return chapter;
  add_claim(findings, chapter);
  const std::string cores = findings.front().second.values.value("cores_note", "");
  if (!cores.empty()) chapter.sections.push_back({"Cores", cores});
  add_sections(findings, kOneCore, chapter);
  add_sections(findings, kTwoCores, chapter);
  return chapter;
}

}  // namespace shadowattn::tool::paper
